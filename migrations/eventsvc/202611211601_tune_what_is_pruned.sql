-- Deleted triggers that may be due, found without reading all. The table is small; older code does not notice.
create index trigger_forgettable_idx on eventsvc.trigger (deleted_at)
where deleted_at is not null and revoked_at is not null;

-- As many rows go as come: vacuum by count, not by share.
alter table eventsvc.delivery_step set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
alter table eventsvc.firing set (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000);
alter table eventsvc.trigger_stat set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
