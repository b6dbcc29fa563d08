-- Listeners of mailboxes and of the bus, what reconcilers found, and what a delivery is about. Older code never writes the
-- new words, and a system it does not know it cannot fire.

alter table eventsvc.source drop constraint source_system_check;
alter table eventsvc.source add constraint source_system_check check (
    system in ('webhook', 'timer', 'github', 'slack', 'stripe', 'hubspot', 'poll', 'gmail', 'imap', 'nats'));
alter table eventsvc.trigger drop constraint trigger_system_check;
alter table eventsvc.trigger add constraint trigger_system_check check (
    system in ('webhook', 'timer', 'github', 'slack', 'stripe', 'hubspot', 'poll', 'gmail', 'imap', 'nats'));

-- What a delivery tells of, where that can be said without the provider's id of it: a change that was found by looking and
-- the delivery that told of it late are one.
alter table eventsvc.delivery add column about_key text;
create unique index delivery_source_about_key on eventsvc.delivery (source_id, about_key) where about_key is not null;

alter table eventsvc.delivery drop constraint delivery_reason_class_check;
alter table eventsvc.delivery add constraint delivery_reason_class_check check (
    reason_class in ('inactive', 'paused', 'unmatched', 'filter', 'route', 'credential', 'budget', 'engine', 'tool', 'input',
                     'flow', 'loop')) not valid;
alter table eventsvc.delivery validate constraint delivery_reason_class_check;

-- A provider's account that an app-level delivery names.
create index source_cursor_account_idx on eventsvc.source_cursor ((position ->> 'account'));

-- What hears of a tenant's own events.
create index trigger_nats_idx on eventsvc.trigger (tenant_id) where system = 'nats' and deleted_at is null;

-- The credential that was made for a trigger alone: it goes with it.
alter table eventsvc.trigger add column own_credential_id uuid;

-- What a reconciler found that the provider had not told of.
create table eventsvc.recovery (
    recovery_id uuid primary key,
    tenant_id   uuid not null,
    source_id   uuid not null,
    recovered   bigint not null,
    -- When what was found had happened, first and last.
    first_at    timestamptz not null,
    last_at     timestamptz not null,
    note        text not null,
    found_at    timestamptz not null default now(),
    constraint recovery_source_fkey foreign key (source_id) references eventsvc.source (source_id) on delete cascade
);
create index recovery_page_idx on eventsvc.recovery (source_id, found_at desc, recovery_id desc);
create index recovery_found_idx on eventsvc.recovery (found_at);

alter table eventsvc.recovery enable row level security;
alter table eventsvc.recovery force row level security;
create policy tenant on eventsvc.recovery to eventsvc_app using (
    tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on eventsvc.recovery to eventsvc_system using (true);
