-- no-transaction
-- The runs of all evaluations, newest first; one that somebody asks for is not in it. Older code does not notice.
create index concurrently run_tried_idx on engine.run (tenant_id, created_at desc, run_id desc)
where evaluation_id is not null;
