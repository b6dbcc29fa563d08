with due as materialized (
    select delivery_id, received_at
    from eventsvc.delivery
    where received_at < now() - make_interval(days => $1)
      and received_at >= coalesce($2, '-infinity'::timestamptz)
    order by received_at limit $3
    for update skip locked
), gone as materialized (
    select d.delivery_id
    from due d
    where not exists (
        select from eventsvc.firing f
        where f.delivery_id = d.delivery_id
          and (f.status = 'held'
               or (f.status = 'fired' and f.arrived_at is null
                   and f.fired_at > now() - 2 * make_interval(days => $1))))
), firings as (
    delete from eventsvc.firing where delivery_id = any (array(select delivery_id from gone))
), deliveries as (
    delete from eventsvc.delivery where delivery_id = any (array(select delivery_id from gone))
)
select (select count(*) from gone) as "deliveries!", count(*) as "looked_at!", max(received_at) as looked_up_to from due
