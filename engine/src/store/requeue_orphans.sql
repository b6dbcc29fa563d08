update engine.run set status = 'queued', worker_id = null, queued_at = now()
where run_id = any (array(
    select r.run_id
    from engine.run r
    where r.status = 'running' and not exists (
        select from engine.worker w where w.worker_id = r.worker_id and w.lease_until > now())
    limit 1000 for update of r skip locked))
