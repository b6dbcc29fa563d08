-- The clock of a deadline stands still while a run waits for somebody, and while it waits for nothing but a run that does.
update engine.run set status = 'queued', wait_reason = null, queued_at = now()
where run_id = any (array(
    select r.run_id
    from engine.run_timer t join engine.run r on r.run_id = t.run_id
    where t.due_at <= now() and r.status = 'waiting'
      and (t.name <> 'deadline' or (r.held_at is null and not exists (
          with recursive below as (
              select c.run_id, c.held_at from engine.run c where c.parent_run_id = r.run_id and r.wait_reason = 'child'
              union all
              select c.run_id, c.held_at from engine.run c join below b on c.parent_run_id = b.run_id)
          select from below where below.held_at is not null)))
    limit 1000 for update of r skip locked))
