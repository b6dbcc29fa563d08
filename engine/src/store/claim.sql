-- Tenants, and in each the lanes of its queue, are found by hopping over the index: a backlog of one tenant costs the
-- others nothing, and what an agent's own limit holds back stands in nobody else's way. Agents without such a limit
-- share one lane. Runs with records of a later version than $4 are left to engines that know them.
with recursive tenants as (
    (select tenant_id from engine.run where status = 'queued' order by tenant_id limit 1)
    union all
    select (select r.tenant_id from engine.run r
            where r.status = 'queued' and r.tenant_id > t.tenant_id order by r.tenant_id limit 1)
    from tenants t where t.tenant_id is not null
), room as (
    select t.tenant_id,
           greatest($3::bigint - (select count(*) from engine.run r
                          where r.tenant_id = t.tenant_id and r.status = 'running'), 0) as free
    from tenants t where t.tenant_id is not null
), lanes as (
    select room.tenant_id, '00000000-0000-0000-0000-000000000000'::uuid as lane
    from room where room.free > 0
    union all
    select l.tenant_id, (
        select case when r.agent_concurrency is null then '00000000-0000-0000-0000-000000000000'::uuid else r.agent_id end
        from engine.run r
        where r.status = 'queued' and r.tenant_id = l.tenant_id
          and case when r.agent_concurrency is null then '00000000-0000-0000-0000-000000000000'::uuid else r.agent_id end
              > l.lane
        order by case when r.agent_concurrency is null then '00000000-0000-0000-0000-000000000000'::uuid else r.agent_id end
        limit 1)
    from lanes l where l.lane is not null
), limits as materialized (
    -- What is left of a lane's own limit, by its oldest run; null when it has none.
    select l.tenant_id, l.lane, (
        select r.agent_concurrency
        from engine.run r
        where r.tenant_id = l.tenant_id and r.status = 'queued'
          and case when r.agent_concurrency is null then '00000000-0000-0000-0000-000000000000'::uuid else r.agent_id end
              = l.lane
        order by r.queued_at, r.run_id limit 1) as concurrency, (
        select count(*) from engine.run r
        where r.tenant_id = l.tenant_id and r.agent_id = l.lane and r.status = 'running') as running
    from lanes l where l.lane is not null
), waiting as (
    select c.*, u.running,
           row_number() over (partition by c.tenant_id, c.agent_id order by c.queued_at, c.run_id) as nth_of_agent
    from limits u cross join lateral (
        select r.run_id, r.tenant_id, r.agent_id, r.agent_concurrency, r.queued_at
        from engine.run r
        where r.tenant_id = u.tenant_id and r.status = 'queued'
          and case when r.agent_concurrency is null then '00000000-0000-0000-0000-000000000000'::uuid else r.agent_id end
              = u.lane and r.record_version <= $4
        order by r.queued_at, r.run_id
        limit case when u.concurrency is null then $2::bigint
                   else greatest(least($2::bigint, u.concurrency - u.running), 0) end) c
), allowed as (
    select w.run_id, w.tenant_id, w.queued_at,
           row_number() over (partition by w.tenant_id order by w.queued_at, w.run_id) as turn
    from waiting w
    where w.agent_concurrency is null or w.nth_of_agent <= w.agent_concurrency - w.running
), ending as (
    -- What was cancelled or paused or is too late lets go at once: no limit holds that back. Never more than fits.
    (select r.run_id
     from engine.run_signal s join engine.run r on r.run_id = s.run_id and r.status = 'queued'
     where s.drained_at is null and s.signal ->> 'signal' in ('cancel', 'pause') and r.record_version <= $4
       and not exists (select from engine.run_signal l
                       where l.run_id = s.run_id and l.drained_at is null and l.n > s.n
                         and s.signal ->> 'signal' = 'pause' and l.signal ->> 'signal' = 'resume')
     limit $2::bigint)
    union all
    (select r.run_id
     from engine.run_timer t join engine.run r on r.run_id = t.run_id and r.status = 'queued'
     where t.name = 'deadline' and t.due_at <= now() and r.held_at is null and r.record_version <= $4
     order by t.due_at limit $2::bigint)
), picked as (
    select a.run_id, a.turn, a.queued_at
    from allowed a join room on room.tenant_id = a.tenant_id
    where a.turn <= room.free
    union all
    select e.run_id, 0, null::timestamptz from ending e
), locked as (
    -- A deadline's clock stood still while the run waited for somebody, or only for runs below it that did or still do:
    -- those began with its deadline, and have a later one by now or will have it with their next claim. Nobody's clock goes
    -- back: who has waited for the lock of claims has begun before what has come to rest since.
    select r.run_id, greatest(
               r.deadline_at + greatest(now() - r.held_at, interval '0'),
               (with recursive below as (
                    select c.run_id, c.deadline_at + greatest(now() - c.held_at, interval '0') as deadline_at
                    from engine.run c where c.parent_run_id = r.run_id
                    union all
                    select c.run_id, c.deadline_at + greatest(now() - c.held_at, interval '0')
                    from engine.run c join below b on c.parent_run_id = b.run_id)
                select max(b.deadline_at) from below b)) as deadline_at
    from engine.run r
    where r.status = 'queued'
      and r.run_id = any (array(select p.run_id from picked p order by p.turn, p.queued_at limit $2::bigint))
    for update of r skip locked
), shifted as (
    -- Also one that never came while the clock stood still.
    update engine.run_timer t set due_at = l.deadline_at
    from locked l
    where t.run_id = l.run_id and t.name = 'deadline' and t.due_at <> l.deadline_at
)
update engine.run r
set status = 'running', worker_id = $1, epoch = r.epoch + 1, claims = r.claims + 1,
    deadline_at = l.deadline_at, held_at = null
from locked l
where r.run_id = l.run_id
returning r.run_id as "run: _", r.tenant_id as "tenant: _", r.root_run_id as "root: _", r.agent_id as "agent: _",
          r.trigger_id as "trigger: _", r.event_id as "event: _", r.attempt, r.mode,
          r.evaluation_id as "evaluation: _",
          coalesce(r.initiator_id, r.principal_id) as "user!: _",
          r.epoch, r.next_seq, r.claims, r.traceparent,
          (extract(epoch from r.deadline_at - now()) * 1000)::bigint as "deadline_ms!",
          (extract(epoch from now() - r.queued_at) * 1000)::bigint as "queued_ms!"
