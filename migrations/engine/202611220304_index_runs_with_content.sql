-- no-transaction
-- Ended runs of each tenant whose content may be due, the oldest first. Older code does not notice.
create index concurrently run_content_due_idx on engine.run (tenant_id, finished_at, run_id)
where finished_at is not null and content_pruned_at is null;
