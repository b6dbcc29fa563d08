-- Makes the runs of a group, unless their snapshots are out of date. What a firing leads to and the note that the firing
-- was taken are one statement, so that a redelivery finds either both or neither. A run is this worker's at once when
-- nothing of its tenant waits and the limits leave room; otherwise it is queued.
--
-- Everything is joined by hashing (the connection has nested loops switched off): a group joined with itself by one would
-- take time by its size squared.
with asked as (
    select a.*
    from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[], $6::int[], $7::text[], $8::text[], $9::uuid[],
                $10::uuid[], $11::uuid[], $12::uuid[], $13::uuid[], $14::uuid[], $15::int[], $16::int[], $17::float8[],
                $18::text[], $19::int[], $20::bytea[], $21::bytea[], $22::text[], $23::text[],
                $36::bool[]) with ordinality
        as a (tenant_id, message_id, revision, run_id, agent_id, agent_version, agent_name, agent_scope, agent_owner_id,
              team_id, principal_id, initiator_id, trigger_id, event_id, attempt, agent_concurrency, deadline_seconds,
              traceparent, snapshot_at, hash, body, created, input, structured, n)
), fresh as materialized (
    select a.*
    from asked a left join engine.catalogue c on c.tenant_id = any ($1::uuid[]) and c.tenant_id = a.tenant_id
    where coalesce(c.revision, 0) = a.revision
), heard as (
    -- In one order, as what is delivered again may be in another process's group as well: neither then waits for what the other
    -- one has while that one waits for it.
    insert into engine.inbox (consumer, message_id, tenant_id)
    select $24, f.message_id, f.tenant_id from fresh f where f.message_id is not null
    order by f.message_id
    on conflict do nothing
    returning message_id
), due as materialized (
    select f.* from fresh f
    where f.message_id is null or f.message_id in (select h.message_id from heard h)
), room as materialized (
    select t.tenant_id,
           $26::bigint - (select count(*) from engine.run r where r.tenant_id = t.tenant_id and r.status = 'running') as free,
           exists (select from engine.run r where r.tenant_id = t.tenant_id and r.status = 'queued') as waits
    from (select distinct d.tenant_id from due d where d.run_id is not null) t
    where $27::bigint > 0
), placed as (
    select d.run_id, d.tenant_id,
           row_number() over (partition by d.tenant_id order by d.n) as nth, row_number() over (order by d.n) as nth_of_all
    from due d
    where d.run_id is not null and d.agent_concurrency is null
), ours as materialized (
    select p.run_id
    from placed p join room using (tenant_id)
    where not room.waits and p.nth <= room.free and p.nth_of_all <= $27::bigint
), made as (
    insert into engine.run as r (
        run_id, root_run_id, tenant_id, agent_id, agent_version, agent_name, agent_scope, agent_owner_id, team_id,
        principal_id, initiator_id, trigger_id, event_id, attempt, next_seq, record_version, agent_concurrency,
        deadline_at, traceparent, structured, status, worker_id, epoch, claims)
    select d.run_id, d.run_id, d.tenant_id, d.agent_id, d.agent_version, d.agent_name, d.agent_scope, d.agent_owner_id,
           d.team_id, d.principal_id, d.initiator_id, d.trigger_id, d.event_id, d.attempt, 3, $28, d.agent_concurrency,
           now() + make_interval(secs => d.deadline_seconds), d.traceparent, d.structured,
           case when o.run_id is null then 'queued' else 'running' end, case when o.run_id is not null then $25::uuid end,
           case when o.run_id is null then 0 else 1 end, case when o.run_id is null then 0 else 1 end
    from due d left join ours o using (run_id)
    where d.run_id is not null
    on conflict do nothing
    returning r.run_id, r.tenant_id, r.deadline_at, r.epoch
), pinned as (
    insert into engine.run_snapshot (run_id, tenant_id, snapshot)
    select m.run_id, m.tenant_id, (($29::text[])[d.snapshot_at])::jsonb from made m join due d using (run_id)
), said as (
    insert into engine.content (root_run_id, hash, tenant_id, body)
    select m.run_id, d.hash, m.tenant_id, d.body from made m join due d using (run_id)
), written as (
    insert into engine.journal (run_id, seq, tenant_id, epoch, kind, v, data)
    select m.run_id, j.seq, m.tenant_id, 0, j.kind, $28, j.data::json
    from made m join due d using (run_id)
         cross join lateral (values (1, 'created', d.created), (2, 'input', d.input)) as j (seq, kind, data)
), deadline as (
    insert into engine.run_timer (run_id, name, tenant_id, due_at)
    select m.run_id, 'deadline', m.tenant_id, m.deadline_at from made m
), told as (
    insert into engine.outbox (message_id, tenant_id, event_id, attempt, subject, envelope)
    select o.message_id, d.tenant_id, o.event_id, o.attempt, o.subject,
           o.envelope::jsonb || jsonb_build_object('occurred_at', now())
    from unnest($30::int[], $31::uuid[], $32::uuid[], $33::int[], $34::text[], $35::text[])
             as o (n, message_id, event_id, attempt, subject, envelope)
         join due d on d.n = o.n left join made m on m.run_id = d.run_id
    where d.run_id is null or m.run_id is not null
    on conflict (message_id) do nothing
)
select f.n as "n!", m.run_id is not null as "made!",
       d.n is not null and (d.run_id is null or m.run_id is not null) as "told!", coalesce(m.epoch = 1, false) as "ours!", now() as "at!",
       m.deadline_at as "deadline_at?"
from fresh f left join due d on d.n = f.n left join made m on m.run_id = d.run_id
