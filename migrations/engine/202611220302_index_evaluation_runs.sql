-- no-transaction
-- The runs of an evaluation. Older code makes none.
create index concurrently run_evaluation_idx on engine.run (evaluation_id, created_at)
where evaluation_id is not null;
