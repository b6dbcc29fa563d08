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
where a.tenant_id = $1
  and ($2 or r.initiator_id = $3 or (r.agent_scope = 'user' and r.agent_owner_id = $3)
       or (r.agent_scope = 'team' and r.team_id = any ($4::uuid[]))
       or $3 = any (a.voters) or a.voter_rank <= $5::int)
  and ($6::text is null
       or case when a.status = 'open' and r.finish_reason is not null then 'withdrawn' else a.status end = $6)
  and ($7::uuid is null or a.run_id = $7)
  and ($8::uuid is null or a.agent_id = $8)
  and ($9::text is null or a.tool_name = $9)
  and ($10::timestamptz is null or (a.created_at, a.approval_id) < ($10, $11::uuid))
order by a.created_at desc, a.approval_id desc
limit $12
