-- What grows in every schema and how it is found when it is old. Older code neither sees nor misses the indexes.
-- The tables are small where they are not about to be: events set aside, failures, answers of a day.

create index parked_page_idx on parked (tenant_id, parked_at desc, message_id desc);
create index parked_age_idx on parked (parked_at);
create index listener_failure_age_idx on listener_failure (failed_at);

-- As many rows go as come: vacuum by count, not by share, or a table that was large once is never visited. A lower
-- fillfactor would do nothing for the outbox: marking a row changes indexed columns.
alter table inbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
                       autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
                       autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000);
alter table outbox set (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000);
alter table idempotency set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
alter table listener_failure set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
