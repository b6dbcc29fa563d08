-- no-transaction
-- Tenants keep runs for different times: the one above takes its place. Older code forgets more slowly.
drop index concurrently engine.run_ended_idx;
