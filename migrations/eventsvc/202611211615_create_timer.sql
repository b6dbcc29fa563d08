-- Timers: triggers that fire by the clock. Code that does not know them never reads the new table and refuses the new
-- system when it is asked to make one, so it can serve beside code that does.

alter table eventsvc.source drop constraint source_system_check;
alter table eventsvc.source add constraint source_system_check check (system in ('webhook', 'timer'));
alter table eventsvc.trigger drop constraint trigger_system_check;
alter table eventsvc.trigger add constraint trigger_system_check check (system in ('webhook', 'timer'));

-- The time that decides what is due: the database's, and one place where a test can put it off.
create function eventsvc.db_now() returns timestamptz
    language sql stable parallel safe
    return now() + coalesce(nullif(current_setting('switchyard.clock_ahead', true), ''), '0')::interval;

-- Where a timer stands. The schedule itself is in the trigger's options.
create table eventsvc.timer (
    trigger_id     uuid primary key,
    tenant_id      uuid not null,
    -- What intervals are counted from.
    anchor_at      timestamptz not null,
    -- The slot that fires next, kept while the trigger is paused; none when there is none or it is not active.
    next_slot_at   timestamptz,
    -- The same with its jitter; none while it must not fire.
    next_due_at    timestamptz,
    last_slot_at   timestamptz,
    last_fired_at  timestamptz,
    -- Slots that passed without a firing.
    missed         bigint not null default 0,
    last_missed_at timestamptz,
    -- No slot will come any more, and why.
    ended_at       timestamptz,
    end_reason     text,
    constraint timer_trigger_fkey foreign key (trigger_id) references eventsvc.trigger (trigger_id) on delete cascade,
    constraint timer_end_check check ((ended_at is null) = (end_reason is null)),
    constraint timer_due_check check (next_due_at is null or (next_slot_at is not null and ended_at is null))
) with (fillfactor = 80);
create index timer_due_idx on eventsvc.timer (next_due_at) where next_due_at is not null;
-- Rows change at the rate of firings: vacuum by count, not by share.
alter table eventsvc.timer set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

alter table eventsvc.timer enable row level security;
alter table eventsvc.timer force row level security;
create policy tenant on eventsvc.timer to eventsvc_app
    using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on eventsvc.timer to eventsvc_system using (true);
