update engine.run set status = 'queued', wait_reason = null, queued_at = now()
where run_id = any (array(
    select r.run_id
    from engine.run_timer t join engine.run r on r.run_id = t.run_id
    where t.due_at <= now() and r.status = 'waiting' and (t.name <> 'deadline' or r.held_at is null)
    limit 1000 for update of r skip locked))
