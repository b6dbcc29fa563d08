-- no-transaction
-- Replaced by run_lane_idx. Older code that still claims by age finds its tenants there and sorts.
drop index concurrently engine.run_queued_idx;
