-- Why a trigger holds deliveries back, when it was not a person who said so. Older code leaves it empty.
alter table eventsvc.trigger add column paused_why text;
create index trigger_target_idx on eventsvc.trigger (tenant_id, target_id) where deleted_at is null;
