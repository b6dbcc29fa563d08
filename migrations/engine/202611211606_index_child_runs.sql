-- no-transaction
-- The tree below a root; roots themselves are not in it. Older code does not notice.
create index concurrently run_child_idx on engine.run (root_run_id) where parent_run_id is not null;
