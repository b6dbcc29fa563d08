-- no-transaction
-- Ended runs whose content may be due. Older code does not notice.
create index concurrently run_ended_idx on engine.run (finished_at, run_id)
where finished_at is not null and content_pruned_at is null;
