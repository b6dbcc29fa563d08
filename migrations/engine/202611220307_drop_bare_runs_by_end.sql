-- no-transaction
-- Likewise.
drop index concurrently engine.run_bare_idx;
