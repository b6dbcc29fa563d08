-- no-transaction
-- Ended runs of each tenant of which only the row itself is left. Older code does not notice.
create index concurrently run_row_due_idx on engine.run (tenant_id, finished_at, run_id)
where content_pruned_at is not null;
