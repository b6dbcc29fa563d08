-- What belongs to a conversation goes with that. Without a term it is kept for good.
with recursive tenant (id) as (
    -- One entry of the index for each tenant.
    (select x.tenant_id from engine.agent_memory x order by x.tenant_id limit 1)
    union all
    select (select x.tenant_id from engine.agent_memory x where x.tenant_id > t.id order by x.tenant_id limit 1)
    from tenant t where t.id is not null
), term as materialized (
    select t.id, now() - make_interval(days => coalesce(k.memory_days, $1)) as before
    from tenant t left join engine.retention k on k.tenant_id = t.id
    where t.id is not null
), due as materialized (
    select d.*
    from term cross join lateral (
        select m.tenant_id, m.agent_id, m.subject, m.key
        from engine.agent_memory m
        where m.tenant_id = term.id and m.updated_at < term.before and not starts_with(m.subject, 'conversation:')
        order by m.updated_at
        limit $2
        for update of m skip locked) d
    limit $2
), gone as (
    delete from engine.agent_memory m using due d
    where m.tenant_id = d.tenant_id and m.agent_id = d.agent_id and m.subject = d.subject and m.key = d.key
    returning m.key
)
select count(*) as "count!" from gone
