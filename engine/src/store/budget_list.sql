-- A budget by its id, or those of a tenant or the platform that somebody may see. Whoever does not administer the tenant sees the
-- tenant's, their own, and those of agents that they see.
select b.budget_id as "budget_id: _", b.level, b.subject_id as subject, b.path, b.period, b.version, b.created_at, b.updated_at,
       case when b.period <> 'total' then date_trunc(b.period, now() at time zone 'utc') at time zone 'utc' end as period_start,
       case when b.period <> 'total'
            then (date_trunc(b.period, now() at time zone 'utc') + ('1 ' || b.period)::interval) at time zone 'utc' end as period_end,
       b.period <> 'total' and b.period_start < date_trunc(b.period, now() at time zone 'utc') at time zone 'utc' as "stale!",
       (select coalesce(jsonb_agg(jsonb_build_object('quantity', l.quantity, 'cap', l.cap, 'spent', l.spent, 'held', l.held,
                   'overshoot', l.overshoot, 'pending', coalesce((
                       select sum(s.amount) from engine.budget_spending s
                       where s.budget_id = l.budget_id and s.quantity = l.quantity), 0)) order by l.quantity), '[]')
        from engine.budget_line l where l.budget_id = b.budget_id) as "lines!: _"
from engine.budget b
left join engine.agent a on b.level = 'agent' and a.agent_id = b.subject_id and a.tenant_id = b.tenant_id
where b.tenant_id is not distinct from $1::uuid
  and case when $2::uuid is null then b.level <> 'run' else b.budget_id = $2 end
  and ($3::uuid is null or b.level = 'tenant' or (b.level = 'user' and b.subject_id = $3)
       or a.owner_id = $3 or (a.scope = 'team' and a.team_id = any ($4::uuid[])))
  and ($5::text is null or b.level = $5)
  and ($6::timestamptz is null or (b.created_at, b.budget_id) < ($6, $7::uuid))
order by b.created_at desc, b.budget_id desc
limit $8
