select a.approval_id as "approval_id: _", a.run_id as "run_id: _", a.agent_id as "agent_id: _", a.call_key, a.tool_name,
       a.subject as "subject: _", a.asked as "asked: _", a.arguments as "arguments: _", a.parameters, a.binding, a.revision,
       a.rules as "rules: _", a.policy as "policy: _",
       case when a.status = 'open' and r.finish_reason is not null then 'withdrawn' else a.status end as "status!",
       a.sticky, a.reason, a.created_at, a.expires_at, a.expires_at <= now() as "is_over!", a.decided_at,
       (select count(distinct v.user_id) from engine.approval_vote v
        where v.tenant_id = a.tenant_id and v.approval_id = a.approval_id and v.revision = a.revision
          and v.kind in ('approve', 'edit')) as "approvals!",
       r.initiator_id as "initiator_id: _"
from engine.approval a join engine.run r on r.run_id = a.run_id and r.tenant_id = a.tenant_id
where a.tenant_id = $1 and a.approval_id = $2
