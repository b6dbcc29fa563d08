-- no-transaction
-- A tenant's dry runs, newest first. Older code does not notice.
create index concurrently run_dry_idx on engine.run (tenant_id, created_at desc, run_id desc) where mode = 'dry';
