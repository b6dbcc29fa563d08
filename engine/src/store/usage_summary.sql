-- What was used, added up as it is asked for. Engines of before have counted in `usage`, without saying whose it was.
select case when $7::bool then u.day end as day,
       nullif(case when $11::bool then u.user_id end, '00000000-0000-0000-0000-000000000000') as "user_id: _",
       nullif(case when $8::bool then u.agent_id end, '00000000-0000-0000-0000-000000000000') as "agent_id: _",
       case when $8::bool then max(a.name) end as agent_name,
       case when $9::bool then u.model end as model,
       sum(calls)::bigint as "calls!", sum(unpriced_calls)::bigint as "unpriced_calls!",
       sum(input_tokens)::bigint as "input_tokens!", sum(cache_read_tokens)::bigint as "cache_read_tokens!",
       sum(cache_write_tokens)::bigint as "cache_write_tokens!",
       sum(output_tokens)::bigint as "output_tokens!", sum(reasoning_tokens)::bigint as "reasoning_tokens!",
       sum(cost_micro_usd)::bigint as "cost_micro_usd!"
from (select tenant_id, day, user_id, agent_id, model, calls, unpriced_calls, input_tokens, cache_read_tokens,
             cache_write_tokens, output_tokens, reasoning_tokens, cost_micro_usd
      from engine.user_usage where tenant_id = $1
      union all
      select tenant_id, day, '00000000-0000-0000-0000-000000000000', agent_id, model, calls, unpriced_calls, input_tokens,
             cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_micro_usd
      from engine.usage where tenant_id = $1) u
left join engine.agent a on a.agent_id = u.agent_id and a.tenant_id = u.tenant_id
where ($2::bool or a.owner_id = $3 or (a.scope = 'team' and a.team_id = any ($4))
       or u.user_id = $3)
  and ($5::date is null or u.day >= $5) and ($6::date is null or u.day <= $6)
  and ($10::uuid is null or u.agent_id = $10) and ($12::uuid is null or u.user_id = $12)
group by 1, case when $11::bool then u.user_id end, case when $8::bool then u.agent_id end, 5
order by 1 desc, 4, 5, 3, 2
limit 10000
