-- no-transaction
-- Runs that people have stopped for a while. Older code does not notice.
create index concurrently run_paused_idx on engine.run (tenant_id, created_at, run_id) where status = 'paused';
