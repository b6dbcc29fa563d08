with recursive tenant (id) as (
    -- One entry of the index for each tenant.
    (select x.tenant_id from engine.run x where x.content_pruned_at is not null order by x.tenant_id limit 1)
    union all
    select (select x.tenant_id from engine.run x where x.content_pruned_at is not null and x.tenant_id > t.id order by x.tenant_id limit 1)
    from tenant t where t.id is not null
), term as materialized (
    select t.id, now() - make_interval(days => coalesce(k.run_days, $1)) as before
    from tenant t left join engine.retention k on k.tenant_id = t.id
    where t.id is not null
), due as materialized (
    select d.run_id
    from term cross join lateral (
        select r.run_id
        from engine.run r
        where r.tenant_id = term.id and r.finished_at < term.before and r.content_pruned_at is not null
        order by r.finished_at, r.run_id
        limit $2
        for update of r skip locked) d
    limit $2
), effect as (
    delete from engine.effect where run_id = any (array(select run_id from due))
), budget as (
    delete from engine.budget where level = 'run' and subject_id = any (array(select run_id from due))
), run as (
    delete from engine.run where run_id = any (array(select run_id from due))
)
select count(*) as "count!" from due
