-- no-transaction
-- The runs that work for others, newest first; one that somebody asks for is not in it. Older code does not notice.
create index concurrently run_work_idx on engine.run (tenant_id, created_at desc, run_id desc)
where parent_run_id is not null and evaluation_id is null;
