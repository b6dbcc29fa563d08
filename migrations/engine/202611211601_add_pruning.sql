-- When the content of an ended run was forgotten; null as long as it is there. Older code does not look at it and goes
-- on showing what is left.
alter table engine.run add column content_pruned_at timestamptz;

-- When the cluster last swept: one process per period does it, whoever comes first.
create table engine.sweep (
    only_row boolean primary key default true,
    swept_at timestamptz not null default 'epoch',
    constraint sweep_only_row_check check (only_row)
) with (fillfactor = 10);
insert into engine.sweep default values;

-- Rows come and go at the rate of runs: vacuum by count, not by share.
alter table engine.journal set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000);
alter table engine.content set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000);
alter table engine.effect set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
alter table engine.run_snapshot set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
