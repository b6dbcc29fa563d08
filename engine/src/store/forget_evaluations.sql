-- An evaluation goes when its runs would; what was said about them goes with what was said in them.
with recursive tenant (id) as (
    -- One entry of the index for each tenant.
    (select x.tenant_id from engine.evaluation x where x.finished_at is not null order by x.tenant_id limit 1)
    union all
    select (select x.tenant_id from engine.evaluation x where x.finished_at is not null and x.tenant_id > t.id order by x.tenant_id limit 1)
    from tenant t where t.id is not null
), term as materialized (
    select t.id, now() - make_interval(days => coalesce(k.run_days, $1)) as before,
           now() - make_interval(days => least(coalesce(k.content_days, $3), coalesce(k.run_days, $1))) as silent_before
    from tenant t left join engine.retention k on k.tenant_id = t.id
    where t.id is not null
), due as materialized (
    select d.evaluation_id
    from term cross join lateral (
        select e.evaluation_id from engine.evaluation e
        where e.tenant_id = term.id and e.finished_at < term.before and e.finished_at is not null
        order by e.finished_at
        limit $2
        for update of e skip locked) d
    limit $2
), silent as materialized (
    select d.evaluation_id
    from term cross join lateral (
        select e.evaluation_id from engine.evaluation e
        where e.tenant_id = term.id and e.finished_at < term.silent_before and e.finished_at is not null and not e.silent
          and e.evaluation_id not in (select evaluation_id from due)
        order by e.finished_at
        limit $2
        for update of e skip locked) d
    limit $2
), marked as (
    update engine.evaluation set silent = true where evaluation_id in (select evaluation_id from silent)
), words as (
    update engine.evaluation_result set details = null, error = null, definition = null
    where evaluation_id in (select evaluation_id from silent)
), gone as (
    delete from engine.evaluation where evaluation_id in (select evaluation_id from due)
)
select (select count(*) from due) + (select count(*) from silent) as "count!"
