update engine.run set status = 'queued', wait_reason = null, queued_at = now()
where run_id = any (array(
    select r.run_id
    from engine.run_signal s join engine.run r on r.run_id = s.run_id
    where s.drained_at is null
      and (r.status = 'waiting' or (r.status = 'paused' and s.signal ->> 'signal' in ('cancel', 'resume')))
    limit 1000 for update of r skip locked))
