-- Takes a group of words about runs, each once, into the firings that led to them and the timelines of their deliveries.
--
-- Rows are found by lists of ids and joined by hashing, with nested loops switched off: of the length of a list that travels
-- along the planner knows nothing, and two joined by a nested loop take time by their product.
with asked as (
    select *
    from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::text[], $7::uuid[], $8::text[], $9::text[], $10::jsonb[],
                $11::timestamptz[], $12::text[]) with ordinality
        as a (message_id, tenant_id, event_id, attempt, step, run_id, run_status, failure, detail, at, class, n)
), new as (
    insert into eventsvc.inbox (consumer, message_id, tenant_id)
    select $1, a.message_id, a.tenant_id from asked a
    on conflict do nothing
    returning message_id
), due as materialized (
    select a.*, f.delivery_id, f.trigger_id, f.status as was
    from asked a join new using (message_id)
         join eventsvc.firing f on f.event_id = any ($4::uuid[]) and f.tenant_id = a.tenant_id and f.event_id = a.event_id
), last as (
    -- One word for each firing: an ended run stays ended, and of the others the beginning says least. What is told at one moment,
    -- as it is of a run that goes on and at once waits again, ends in that it rests.
    select distinct on (d.event_id, d.attempt) d.tenant_id, d.event_id, d.attempt, d.run_id, d.run_status, d.failure, d.class, d.at,
           d.was
    from due d
    where d.run_status is not null
    order by d.event_id, d.attempt, d.run_status in ('succeeded', 'failed', 'cancelled', 'timed_out') desc,
             d.run_status = 'queued', d.at desc, d.run_status = 'running', d.n desc
), present as (
    update eventsvc.firing f
    set arrived_at = coalesce(f.arrived_at, now()), run_id = l.run_id,
        heard_at = case when l.run_status = 'queued' then f.heard_at else greatest(f.heard_at, l.at) end,
        run_status = case
            when f.run_status in ('succeeded', 'failed', 'cancelled', 'timed_out') then f.run_status
            when l.run_status = 'queued' then coalesce(f.run_status, l.run_status)
            else l.run_status end,
        -- A run that failed is a failure of its firing: it is listed as such, and fired again with the others. While one
        -- waits for what went wrong to be mended, the reason says so.
        status = case
            when f.run_status in ('succeeded', 'failed', 'cancelled', 'timed_out') then f.status
            when l.run_status in ('failed', 'timed_out') then 'failed'
            else f.status end,
        reason_class = case
            when f.run_status in ('succeeded', 'failed', 'cancelled', 'timed_out') or l.run_status = 'queued' then f.reason_class
            else l.class end,
        reason = case
            when f.run_status in ('succeeded', 'failed', 'cancelled', 'timed_out') or l.run_status = 'queued' then f.reason
            else l.failure end
    from last l
    where f.event_id = any ($4::uuid[]) and f.tenant_id = l.tenant_id and f.event_id = l.event_id and f.attempt = l.attempt
      -- Old news say nothing of how it is now, unless they are of the end.
      and (f.heard_at is null or l.at > f.heard_at or l.at = f.heard_at and l.run_status <> 'running'
           or l.run_status in ('succeeded', 'failed', 'cancelled', 'timed_out'))
    returning f.tenant_id, f.delivery_id, f.trigger_id, f.status, f.reason_class, f.reason,
              l.run_status in ('failed', 'timed_out') and l.was <> 'failed' as anew
), refused as (
    update eventsvc.firing f
    set arrived_at = coalesce(f.arrived_at, now()), status = 'failed', reason_class = d.class, reason = d.failure
    from due d
    where d.failure is not null and d.run_status is null and f.event_id = any ($4::uuid[]) and f.tenant_id = d.tenant_id and f.event_id = d.event_id and f.attempt = d.attempt
    returning f.tenant_id, f.delivery_id, f.trigger_id, f.status, f.reason_class, f.reason, d.was <> 'failed' as anew
), failed as (
    select * from present where status = 'failed'
    union all
    select * from refused
), whole as (
    -- A delivery has failed when none of its firings is left; those of this group are still as they were before it.
    update eventsvc.delivery d
    set status = 'failed', reason_class = r.reason_class, reason = r.reason
    from (select distinct on (r.delivery_id) r.* from failed r order by r.delivery_id) r
    where d.delivery_id = any (array(select x.delivery_id from failed x))
      and d.tenant_id = r.tenant_id and d.delivery_id = r.delivery_id
      and not exists (
          select from eventsvc.firing o
          where o.delivery_id = any (array(select x.delivery_id from failed x)) and o.tenant_id = d.tenant_id and o.delivery_id = d.delivery_id and o.status in ('fired', 'queued', 'held', 'parked')
            and not exists (select from due x where x.failure is not null and x.run_status is distinct from 'waiting' and x.event_id = o.event_id and x.attempt = o.attempt))
), told as (
    insert into eventsvc.delivery_step (delivery_id, tenant_id, event_id, attempt, step, run_id, detail, at)
    select d.delivery_id, d.tenant_id, d.event_id, d.attempt, d.step, d.run_id, d.detail, d.at
    from due d
    order by d.n
)
-- What failed just now, for the counters of its triggers.
select f.tenant_id as "tenant!: TenantId", f.trigger_id as "trigger!: TriggerId" from failed f where f.anew
