with recursive tenant (id) as (
    -- One entry of the index for each tenant.
    (select x.tenant_id from engine.user_usage x order by x.tenant_id limit 1)
    union all
    select (select x.tenant_id from engine.user_usage x where x.tenant_id > t.id order by x.tenant_id limit 1)
    from tenant t where t.id is not null
), term as materialized (
    select t.id, ((now() - make_interval(days => coalesce(k.usage_days, $1))) at time zone 'utc')::date as before
    from tenant t left join engine.retention k on k.tenant_id = t.id
    where t.id is not null
), due as materialized (
    select d.*
    from term cross join lateral (
        select u.tenant_id, u.day, u.user_id, u.agent_id, u.model, u.slot
        from engine.user_usage u
        where u.tenant_id = term.id and u.day < term.before
        order by u.day
        limit $2
        for update of u skip locked) d
    limit $2
), gone as (
    delete from engine.user_usage u using due d
    where u.tenant_id = d.tenant_id and u.day = d.day and u.user_id = d.user_id and u.agent_id = d.agent_id
      and u.model = d.model and u.slot = d.slot
    returning u.slot
)
select count(*) as "count!" from gone
