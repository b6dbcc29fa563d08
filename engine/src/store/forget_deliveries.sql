with recursive tenant (id) as (
    -- One entry of the index for each tenant.
    (select x.tenant_id from engine.webhook_delivery x where x.status <> 'pending' order by x.tenant_id limit 1)
    union all
    select (select x.tenant_id from engine.webhook_delivery x where x.status <> 'pending' and x.tenant_id > t.id order by x.tenant_id limit 1)
    from tenant t where t.id is not null
), term as materialized (
    select t.id, now() - make_interval(days => coalesce(k.webhook_days, $1)) as before
    from tenant t left join engine.retention k on k.tenant_id = t.id
    where t.id is not null
), due as materialized (
    select d.*
    from term cross join lateral (
        select w.endpoint_id, w.message_id
        from engine.webhook_delivery w
        where w.tenant_id = term.id and w.created_at < term.before and w.status <> 'pending'
        order by w.created_at
        limit $2
        for update of w skip locked) d
    limit $2
), gone as (
    delete from engine.webhook_delivery w using due d
    where w.endpoint_id = d.endpoint_id and w.message_id = d.message_id
    returning w.message_id
)
select count(*) as "count!" from gone
