-- no-transaction
-- The runs that triggers have started, newest first; one that somebody asks for is not in it. Older code does not notice.
create index concurrently run_trigger_idx on engine.run (tenant_id, created_at desc, run_id desc)
where trigger_id is not null and parent_run_id is null and evaluation_id is null;
