-- Moves each run on that is still under way in the stated epoch and stands where its owner thinks it does; everything
-- else follows those runs. A run that is not returned was fenced: nothing of it was written.
--
-- Rows of tables are found by lists of ids, whatever the planner believes about a young table, and joined by hashing: the
-- connection has nested loops switched off, as two lists of unknown length joined by one take time by their product.
with asked as (
    select *
    from unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[], $5::bigint[], $6::bool[], $7::text[], $8::text[],
                $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::int[],
                $42::bool[], $43::bigint[])
        as a (run_id, tenant_id, epoch, seq, records, progress, status, wait_reason,
              output, finish_reason, error_code, error, usage, steps, priced, cost)
), moved as (
    update engine.run r
    set next_seq = r.next_seq + a.records,
        claims = case when a.progress then 0 else r.claims end,
        status = coalesce(a.status, r.status),
        wait_reason = a.wait_reason,
        worker_id = case when a.status is null then r.worker_id end,
        -- The clock of the deadline stands still while somebody else is to do something.
        held_at = case when a.status = 'paused'
                         or a.wait_reason in ('approval', 'input', 'auth', 'budget', 'callback', 'doubt') then now() end,
        record_version = greatest(r.record_version, $23::smallint),
        output = coalesce(a.output, r.output),
        finish_reason = coalesce(a.finish_reason, r.finish_reason),
        error_code = coalesce(a.error_code, r.error_code),
        error = coalesce(a.error, r.error),
        usage = coalesce(a.usage::jsonb, r.usage),
        cost_micro_usd = case when a.priced then a.cost else r.cost_micro_usd end,
        steps = coalesce(a.steps, r.steps),
        started_at = coalesce(r.started_at, now()),
        finished_at = case when a.finish_reason is not null then now() end
    from asked a
    -- Found by the list of ids, whatever the planner believes about a young table; and "owned" rather than "running",
    -- which would tempt it to read a whole partial index instead.
    where r.run_id = any ($1::uuid[]) and r.run_id = a.run_id and r.tenant_id = a.tenant_id
      and r.epoch = a.epoch and r.next_seq = a.seq and r.worker_id is not null
    returning r.run_id, r.tenant_id, r.root_run_id, r.epoch, a.finish_reason is not null as ended,
              r.held_at is not null as held, r.parent_run_id, r.parent_call_id
), said as (
    -- In one order: runs of one tree may say the same in groups of several committers, which wait for each other then.
    insert into engine.content (root_run_id, hash, tenant_id, body)
    select m.root_run_id, c.hash, m.tenant_id, c.body
    from unnest($16::uuid[], $17::bytea[], $18::bytea[]) as c (run_id, hash, body) join moved m using (run_id)
    order by m.root_run_id, c.hash
    on conflict do nothing
), written as (
    insert into engine.journal (run_id, seq, tenant_id, epoch, path, kind, v, data)
    select m.run_id, j.seq, m.tenant_id, m.epoch, j.path, j.kind, $23::smallint, j.data::json
    from unnest($19::uuid[], $20::bigint[], $54::text[], $21::text[], $22::text[]) as j (run_id, seq, path, kind, data)
    join moved m using (run_id)
), done as (
    insert into engine.effect as e
        (run_id, call_id, tenant_id, tool_name, class, idempotency_key, timeout_ms, state, reason, answered_by, sent_at, ended_at)
    select m.run_id, c.call_id, m.tenant_id, c.tool_name, c.class, c.key, c.timeout_ms, c.state, c.reason, c.answered_by,
           case when c.state = 'sent' then now() end,
           case when c.state in ('done', 'failed', 'answered') then now() end
    from unnest($24::uuid[], $25::text[], $26::text[], $27::text[], $28::uuid[], $29::bigint[], $30::text[], $31::text[], $32::uuid[])
        as c (run_id, call_id, tool_name, class, key, timeout_ms, state, reason, answered_by)
    join moved m using (run_id)
    on conflict (run_id, call_id) do update
    set state = excluded.state, reason = excluded.reason, answered_by = excluded.answered_by,
        sent_at = coalesce(excluded.sent_at, e.sent_at), ended_at = excluded.ended_at
), heard as (
    update engine.run_signal s
    set drained_at = now()
    from moved m
    where s.run_id = any (array(select o.run_id from moved o)) and s.run_id = m.run_id and s.tenant_id = m.tenant_id and s.drained_at is null
      and (m.ended or s.n = any ($15::bigint[]))
), set_timer as (
    insert into engine.run_timer (run_id, name, tenant_id, due_at)
    select m.run_id, t.name, m.tenant_id, now() + t.millis * interval '1 millisecond'
    from unnest($33::uuid[], $34::text[], $35::bigint[]) as t (run_id, name, millis) join moved m using (run_id)
    on conflict (run_id, name) do update set due_at = excluded.due_at
), spent_timers as (
    -- The deadline stays until the end: it may pass between an owner's last look at it and the wait it begins.
    delete from engine.run_timer t
    using moved m
    where t.run_id = any (array(select o.run_id from moved o)) and t.run_id = m.run_id and t.tenant_id = m.tenant_id
      and (m.ended or (t.due_at <= now() and t.name <> 'deadline'))
      and not exists (select from unnest($33::uuid[], $34::text[]) as anew (run_id, name)
                      where anew.run_id = t.run_id and anew.name = t.name)
), stopped_clock as (
    -- Sweeps read no deadline of a run that somebody holds up, however many there are; the next claim sets it anew.
    update engine.run_timer t set due_at = 'infinity'
    from moved m
    where t.run_id = any (array(select o.run_id from moved o where o.held)) and t.run_id = m.run_id and t.tenant_id = m.tenant_id
      and t.name = 'deadline'
), reported as (
    -- The end of a run that works for a call is that call's answer. A parent that has ended hears nothing any more.
    insert into engine.run_signal (run_id, tenant_id, signal)
    select m.parent_run_id, m.tenant_id,
           jsonb_build_object('signal', 'child_ended', 'call_id', m.parent_call_id, 'child_id', m.run_id)
    from moved m
    where m.ended and m.parent_call_id is not null
      and m.parent_run_id in (
          select p.run_id from engine.run p
          where p.run_id = any (array(select o.parent_run_id from moved o where o.ended and o.parent_call_id is not null))
            and p.finish_reason is null)
), told as (
    -- What has an id of its own making may have been told before.
    insert into engine.outbox (message_id, tenant_id, event_id, attempt, subject, envelope)
    select o.message_id, m.tenant_id, o.event_id, o.attempt, o.subject,
           o.envelope::jsonb || jsonb_build_object('occurred_at', now())
    from unnest($36::uuid[], $37::uuid[], $38::uuid[], $39::int[], $40::text[], $41::text[])
        as o (run_id, message_id, event_id, attempt, subject, envelope)
    join moved m using (run_id)
    on conflict do nothing
), spent as (
    -- Rows of this committer's slot: of this process nobody else writes to them. Committers of other processes may have the same
    -- one, and wait for each other, but never in a circle: all take their rows in this order.
    insert into engine.user_usage as u (tenant_id, day, user_id, agent_id, model, slot, calls, unpriced_calls, input_tokens,
        cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_micro_usd)
    select m.tenant_id, (now() at time zone 'utc')::date, s.user_id, s.agent_id, s.model, $53::smallint, count(*), sum(s.unpriced),
           sum(s.input), sum(s.cache_read), sum(s.cache_write), sum(s.output), sum(s.reasoning), sum(s.cost)
    from unnest($44::uuid[], $45::text[], $46::bigint[], $47::bigint[], $48::bigint[], $49::bigint[], $50::bigint[],
                $51::bigint[], $52::bigint[], $55::uuid[], $61::uuid[])
        as s (run_id, model, unpriced, input, cache_read, cache_write, output, reasoning, cost, agent_id, user_id)
    join moved m using (run_id)
    group by m.tenant_id, s.user_id, s.agent_id, s.model
    order by m.tenant_id, s.user_id, s.agent_id, s.model
    on conflict (tenant_id, day, user_id, agent_id, model, slot) do update
    set calls = u.calls + excluded.calls, unpriced_calls = u.unpriced_calls + excluded.unpriced_calls,
        input_tokens = u.input_tokens + excluded.input_tokens,
        cache_read_tokens = u.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = u.cache_write_tokens + excluded.cache_write_tokens,
        output_tokens = u.output_tokens + excluded.output_tokens,
        reasoning_tokens = u.reasoning_tokens + excluded.reasoning_tokens,
        cost_micro_usd = u.cost_micro_usd + excluded.cost_micro_usd
), drawn as (
    -- Only ever added to here: whoever has a budget's row locked adds it up. So nobody waits for a budget.
    insert into engine.budget_spending (tenant_id, budget_id, quantity, hold_id, amount)
    select m.tenant_id, d.budget_id, d.quantity, d.hold_id, sum(d.amount)
    from unnest($56::uuid[], $57::uuid[], $58::text[], $59::uuid[], $60::bigint[])
        as d (run_id, budget_id, quantity, hold_id, amount)
    join moved m using (run_id)
    group by m.tenant_id, d.budget_id, d.quantity, d.hold_id
)
select run_id as "run_id!", now() as "at!" from moved
