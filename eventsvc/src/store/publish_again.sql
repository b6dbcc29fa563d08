with asked as (
    select n.message_id, n.event_id
    from unnest($1::uuid[], $2::uuid[]) as n (message_id, event_id)
), sent as materialized (
    select o.message_id, o.event_id, o.attempt, o.published_at, o.stream_seq
    from eventsvc.outbox o
    where o.message_id = any ($1::uuid[])
), again as (
    update eventsvc.outbox o
    set published_at = null
    from asked a join eventsvc.firing f on f.event_id = a.event_id
    where o.message_id = any ($1::uuid[]) and o.message_id = a.message_id and o.attempt = f.attempt
      and f.status = 'fired' and f.arrived_at is null
      and o.stream = 'TRIGGERS' and o.stream_seq <= $3
      and o.published_at < now() - greatest(make_interval(mins => $4), o.published_at - f.fired_at)
    returning f.tenant_id, f.delivery_id, f.event_id, f.attempt
), noted as (
    insert into eventsvc.delivery_step (delivery_id, tenant_id, event_id, attempt, step, detail, at)
    select delivery_id, tenant_id, event_id, attempt, 'republished', '{"why": "no run was heard of"}', now()
    from again
)
select (select count(*) from again) as "again!",
       count(*) filter (where s.stream_seq <= $3) as "due!",
       count(*) filter (where s.stream_seq is null or s.stream_seq > $3) as "waiting!"
from sent s
