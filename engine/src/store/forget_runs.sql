with due as materialized (
    select r.run_id
    from engine.run r
    where r.finished_at < now() - make_interval(days => $1) and r.content_pruned_at is not null
    order by r.finished_at, r.run_id
    limit $2
    for update of r skip locked
), effect as (
    delete from engine.effect where run_id = any (array(select run_id from due))
), run as (
    delete from engine.run where run_id = any (array(select run_id from due))
)
select count(*) as "count!" from due
