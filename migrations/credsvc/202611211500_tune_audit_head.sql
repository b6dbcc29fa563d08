-- The end of a chain is locked and moved by every group of audit rows: room in its page keeps the new version in place.
-- Old code sees no difference.

alter table credsvc.audit_head set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
