select tenant_id as "tenant_id: _", run_id as "run_id: _", root_run_id as "root_run_id: _", agent_id as "agent_id: _", agent_version, agent_name,
       agent_scope, agent_owner_id as "agent_owner_id: _", team_id as "team_id: _", initiator_id as "initiator_id: _",
       trigger_id as "trigger_id: _", event_id as "event_id: _", attempt, status, wait_reason, output, finish_reason,
       error_code, error, usage, cost_micro_usd, steps, deadline_at, created_at, started_at, finished_at, content_pruned_at,
       conversation_id as "conversation_id: _", end_user_id, structured, swarm_id as "swarm_id: _", swarm_version, swarm_name, mode, evaluation_id as "evaluation_id: _",
       o.origin as "origin!",
       (select coalesce(jsonb_agg(jsonb_build_object('call_id', e.call_id, 'tool_name', e.tool_name, 'reason', e.reason)
                                  order by e.intended_at, e.call_id), '[]')
        from engine.effect e
        where e.tenant_id = $1 and e.run_id = r.run_id and e.state = 'in_doubt') as "in_doubt!: _"
from engine.run r cross join lateral (select case
    when r.evaluation_id is not null then 'evaluation'
    when r.parent_run_id is not null then 'run'
    when r.trigger_id is not null then 'trigger'
    else coalesce((select l.kind from engine.run_link l where l.tenant_id = r.tenant_id and l.run_id = r.run_id), 'request')
end as origin) o
where tenant_id = $1
  and ($2 or initiator_id = $3 or (agent_scope = 'user' and agent_owner_id = $3)
       or (agent_scope = 'team' and team_id = any($4::uuid[])))
  and ($5::text is null or status = $5)
  and ($6::uuid is null or agent_id = $6)
  and ($7::uuid is null or trigger_id = $7)
  and ($8::timestamptz is null or created_at >= $8)
  and ($9::timestamptz is null or created_at < $9)
  and ($13::uuid is null or conversation_id = $13)
  and ($14::uuid is null or swarm_id = $14)
  and ($15::uuid is null or evaluation_id = $15)
  and ($16::text is null or mode = $16)
  and ($17::text[] is null or o.origin = any ($17))
  -- Of one origin alone, said again as its index says it: a plan for these values reads no other runs.
  and ($17::text[] is null or not 'evaluation' = all ($17) or evaluation_id is not null)
  and ($17::text[] is null or not 'run' = all ($17) or (parent_run_id is not null and evaluation_id is null))
  and ($17::text[] is null or not 'trigger' = all ($17)
       or (trigger_id is not null and parent_run_id is null and evaluation_id is null))
  and ($17::text[] is null or not $17 <@ '{retry,fork}' or run_id = any (array(
      select l.run_id from engine.run_link l where l.tenant_id = $1 and l.kind = any ($17))))
  and ($10::timestamptz is null or (created_at, run_id) < ($10, $11::uuid))
order by created_at desc, run_id desc
limit $12
