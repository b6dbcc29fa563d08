-- Providers that sign in their own way, what a trigger hands over and how fast, systems that can be paused as a whole, and
-- listeners that go and look. Older code never writes the new words, and what it reads it leaves alone: a system it does
-- not know it cannot fire, and a firing that is queued waits for code that knows what for.

alter table eventsvc.source drop constraint source_system_check;
alter table eventsvc.source add constraint source_system_check check (
    system in ('webhook', 'timer', 'github', 'slack', 'stripe', 'hubspot', 'poll', 'gmail'));
alter table eventsvc.trigger drop constraint trigger_system_check;
alter table eventsvc.trigger add constraint trigger_system_check check (
    system in ('webhook', 'timer', 'github', 'slack', 'stripe', 'hubspot', 'poll', 'gmail'));

alter table eventsvc.trigger
    -- What the agent is given in place of the payload: JSON with expressions in its texts.
    add column input jsonb,
    -- How fast it may fire and what is fired together.
    add column flow jsonb,
    -- How long a sender may wait for the run's answer; none when it does not.
    add column respond_seconds int;

alter table eventsvc.delivery drop constraint delivery_status_check;
alter table eventsvc.delivery add constraint delivery_status_check check (
    status in ('fired', 'queued', 'held', 'merged', 'parked', 'filtered', 'skipped', 'failed')) not valid;
alter table eventsvc.delivery validate constraint delivery_status_check;
alter table eventsvc.delivery drop constraint delivery_reason_class_check;
alter table eventsvc.delivery add constraint delivery_reason_class_check check (
    reason_class in ('inactive', 'paused', 'unmatched', 'filter', 'route', 'credential', 'budget', 'engine', 'tool', 'input',
                     'flow')) not valid;
alter table eventsvc.delivery validate constraint delivery_reason_class_check;
alter table eventsvc.firing drop constraint firing_status_check;
alter table eventsvc.firing add constraint firing_status_check check (
    status in ('fired', 'queued', 'held', 'merged', 'parked', 'filtered', 'skipped', 'failed')) not valid;
alter table eventsvc.firing validate constraint firing_status_check;
-- The firing that this one went along with.
alter table eventsvc.firing add column merged_into uuid;
create index firing_queued_idx on eventsvc.firing (trigger_id, event_id) where status = 'queued';
create index firing_merged_idx on eventsvc.firing (merged_into) where merged_into is not null;

-- How far a trigger has used up its rate.
create table eventsvc.trigger_flow (
    trigger_id uuid primary key,
    tenant_id  uuid not null,
    -- When it will have fired no more than its rate allows.
    busy_until timestamptz not null,
    constraint trigger_flow_trigger_fkey foreign key (trigger_id)
        references eventsvc.trigger (trigger_id) on delete cascade
);

-- What a trigger with a limit on concurrency has started and has not heard the end of.
create table eventsvc.flow_running (
    event_id   uuid primary key,
    tenant_id  uuid not null,
    trigger_id uuid not null,
    key        text not null,
    since      timestamptz not null default now()
);
create index flow_running_trigger_idx on eventsvc.flow_running (trigger_id);

-- Systems that a tenant has paused as a whole.
create table eventsvc.system_pause (
    tenant_id uuid not null,
    system    text not null,
    why       text,
    paused_by text not null,
    paused_at timestamptz not null default now(),
    constraint system_pause_pkey primary key (tenant_id, system)
);

-- How far a listener has come: committed with the deliveries that brought it there.
create table eventsvc.source_cursor (
    source_id uuid primary key,
    tenant_id uuid not null,
    position  jsonb not null,
    moved_at  timestamptz not null default now(),
    constraint source_cursor_source_fkey foreign key (source_id) references eventsvc.source (source_id) on delete cascade
);

-- Who listens to a source, and how that goes. The epoch rises with each change of hands: what a listener found under an
-- older one is not taken.
create table eventsvc.source_lease (
    source_id      uuid primary key,
    tenant_id      uuid not null,
    owner          uuid,
    epoch          bigint not null default 0,
    until_at       timestamptz,
    -- When it looks next.
    due_at         timestamptz not null,
    last_polled_at timestamptz,
    last_item_at   timestamptz,
    -- Whether the last look worked, and since when none has.
    last_error     text,
    last_error_at  timestamptz,
    failures       int not null default 0,
    found          bigint not null default 0,
    -- Found by looking, after the provider's own word of it did not come.
    recovered      bigint not null default 0,
    note           text,
    renew_at       timestamptz,
    -- Since when it is being looked at, and when the provider last said that there is something.
    looking_since  timestamptz,
    rung_at        timestamptz,
    constraint source_lease_source_fkey foreign key (source_id) references eventsvc.source (source_id) on delete cascade,
    constraint source_lease_owner_check check ((owner is null) = (until_at is null))
) with (fillfactor = 70);
create index source_lease_due_idx on eventsvc.source_lease (due_at);

do $$
declare
    owned text;
begin
    foreach owned in array array['trigger_flow', 'flow_running', 'system_pause', 'source_cursor', 'source_lease'] loop
        execute format('alter table eventsvc.%I enable row level security', owned);
        execute format('alter table eventsvc.%I force row level security', owned);
        execute format('create policy tenant on eventsvc.%I to eventsvc_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on eventsvc.%I to eventsvc_system using (true)', owned);
    end loop;
end $$;
-- A push names a mailbox, and nothing else.
create index source_cursor_mailbox_idx on eventsvc.source_cursor ((position ->> 'email'));
