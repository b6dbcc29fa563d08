with made as (
    insert into engine.run (
        run_id, root_run_id, tenant_id, agent_id, agent_version, agent_name, agent_scope, agent_owner_id, team_id,
        principal_id, initiator_id, trigger_id, event_id, attempt, next_seq, record_version, agent_concurrency,
        deadline_at, traceparent, parent_run_id, parent_call_id, depth, conversation_id, conversation_turn, end_user_id,
        structured, status, wait_reason, swarm_id, swarm_version, swarm_name, mode, evaluation_id)
    values ($1::uuid, coalesce($24::uuid, $1::uuid), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
            -- A run that works for another has that one's deadline.
            coalesce((select p.deadline_at from engine.run p where p.tenant_id = $2 and p.run_id = $25), now() + make_interval(secs => $17)),
            $23, $25, $26, $27, $28, $29,
            -- It works for the same person, too.
            coalesce($30, (select p.end_user_id from engine.run p where p.tenant_id = $2 and p.run_id = $25)),
            $31, case when $32::bool then 'waiting' else 'queued' end, case when $32::bool then 'turn' end, $33, $34, $35, $36, $37)
    on conflict do nothing
    returning run_id, root_run_id, tenant_id, deadline_at
), pinned as (
    insert into engine.run_snapshot (run_id, tenant_id, snapshot)
    select run_id, tenant_id, $18 from made
), said as (
    insert into engine.content (root_run_id, hash, tenant_id, body)
    select root_run_id, $19, tenant_id, $20 from made where $20::bytea is not null
    -- Two runs of a tree may be told the same.
    on conflict do nothing
), written as (
    insert into engine.journal (run_id, seq, tenant_id, epoch, kind, v, data)
    select m.run_id, r.seq, m.tenant_id, 0, r.kind, $15, r.data::json
    from made m, unnest($21::text[], $22::text[]) with ordinality as r (kind, data, seq)
), deadline as (
    insert into engine.run_timer (run_id, name, tenant_id, due_at)
    select run_id, 'deadline', tenant_id, deadline_at from made
)
select run_id from made
