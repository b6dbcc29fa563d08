select run_id as "run_id: _", root_run_id as "root_run_id: _", agent_id as "agent_id: _", agent_version, agent_name,
       agent_scope, agent_owner_id as "agent_owner_id: _", team_id as "team_id: _", initiator_id as "initiator_id: _",
       trigger_id as "trigger_id: _", event_id as "event_id: _", attempt, status, wait_reason, output, finish_reason,
       error_code, error, usage, cost_micro_usd, steps, deadline_at, created_at, started_at, finished_at
from engine.run
where tenant_id = $1 and run_id = $2
