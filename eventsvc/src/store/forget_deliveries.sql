-- Forgets what is old and not needed. Waits for nobody: others lock firings before deliveries, and a firing that somebody has
-- locked may be about to fire again.
with due as materialized (
    select delivery_id, received_at
    from eventsvc.delivery
    where received_at < now() - make_interval(days => $1)
      and received_at >= coalesce($2, '-infinity'::timestamptz)
    order by received_at limit $3
    for update skip locked
), over as materialized (
    -- Whether it is needed is told by how it is once it is locked.
    select f.delivery_id,
           f.status <> 'held'
               and not (f.status = 'fired' and f.arrived_at is null
                        and f.fired_at > now() - 2 * make_interval(days => $1)) as unneeded
    from eventsvc.firing f
    where f.delivery_id = any (array(select delivery_id from due))
    for update skip locked
), gone as materialized (
    select d.delivery_id
    from due d
    left join (
        select o.delivery_id, count(*) filter (where o.unneeded) as unneeded from over o group by o.delivery_id) o
        on o.delivery_id = d.delivery_id
    where coalesce(o.unneeded, 0) = (select count(*) from eventsvc.firing f where f.delivery_id = d.delivery_id)
), firings as (
    delete from eventsvc.firing where delivery_id = any (array(select delivery_id from gone))
), deliveries as (
    delete from eventsvc.delivery where delivery_id = any (array(select delivery_id from gone))
)
select (select count(*) from gone) as "deliveries!", count(*) as "looked_at!", max(received_at) as looked_up_to from due
