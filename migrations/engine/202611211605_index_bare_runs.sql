-- no-transaction
-- Ended runs of which only the row itself is left. Older code does not notice.
create index concurrently run_bare_idx on engine.run (finished_at, run_id) where content_pruned_at is not null;
