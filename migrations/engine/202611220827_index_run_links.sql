-- no-transaction
-- A tenant's retries and forks. Older code does not notice.
create index concurrently run_link_kind_idx on engine.run_link (tenant_id, kind) include (run_id);
