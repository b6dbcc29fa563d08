-- Triggers, the sources they listen to, what was received there and what that started.
-- First migration: no older code sees it.

-- Where events come from. Triggers with the same system, credential and options share one, so that one delivery is
-- received once and fires each of them.
create table eventsvc.source (
    source_id     uuid primary key,
    tenant_id     uuid not null,
    system        text not null,
    credential_id uuid,
    -- The options every trigger of this source has in common: how to verify, how to tell a repetition.
    options       jsonb not null,
    -- The same in canonical form, with whom the source may be shared by.
    options_key   text not null,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint source_system_check check (system in ('webhook')),
    constraint source_key unique nulls not distinct (tenant_id, system, credential_id, options_key)
);

-- What to start when something arrives. A deleted trigger stays until its deliveries are pruned, so that its owner
-- can still read what happened.
create table eventsvc.trigger (
    trigger_id    uuid primary key,
    tenant_id     uuid not null,
    source_id     uuid not null,
    name          text,
    system        text not null,
    target_kind   text not null,
    target_id     uuid,
    credential_id uuid,
    options       jsonb not null,
    filter        text,
    active        boolean not null default true,
    paused        boolean not null default false,
    owner_id      uuid not null,
    scope         text not null,
    team_id       uuid,
    version       int not null default 1,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    deleted_at    timestamptz,
    -- When the vault was told that a deleted trigger needs its credential no more.
    revoked_at    timestamptz,
    constraint trigger_source_fkey foreign key (source_id) references eventsvc.source (source_id),
    constraint trigger_system_check check (system in ('webhook')),
    constraint trigger_target_check check (
        target_kind in ('agent', 'swarm', 'workflow', 'route') and (target_kind = 'route') = (target_id is null)),
    constraint trigger_scope_check check (scope in ('user', 'team') and (scope = 'user' or team_id is not null))
);
create index trigger_source_idx on eventsvc.trigger (source_id);
create index trigger_page_idx on eventsvc.trigger (tenant_id, created_at desc, trigger_id desc);
create index trigger_unrevoked_idx on eventsvc.trigger (deleted_at) where deleted_at is not null and revoked_at is null;

-- Counters of a trigger, written by a worker once a second: counting must not contend with receiving.
create table eventsvc.trigger_stat (
    trigger_id       uuid primary key,
    tenant_id        uuid not null,
    fired            bigint not null default 0,
    filtered         bigint not null default 0,
    skipped          bigint not null default 0,
    failed           bigint not null default 0,
    duplicate        bigint not null default 0,
    refused          bigint not null default 0,
    last_delivery_at timestamptz,
    last_refused_at  timestamptz,
    constraint trigger_stat_trigger_fkey foreign key (trigger_id)
        references eventsvc.trigger (trigger_id) on delete cascade
) with (fillfactor = 50);

-- One thing received, as it came.
create table eventsvc.delivery (
    delivery_id  uuid primary key,
    tenant_id    uuid not null,
    source_id    uuid not null,
    -- The provider's id of it; none means that repetitions cannot be told.
    dedupe_key   text,
    status       text not null,
    reason_class text,
    reason       text,
    -- How it was verified; `test` when a person sent it from inside.
    verified_by  text not null,
    content_type text,
    headers      jsonb not null,
    body         bytea not null,
    occurred_at  timestamptz not null,
    received_at  timestamptz not null,
    stored_at    timestamptz not null default now(),
    constraint delivery_status_check check (status in ('fired', 'held', 'filtered', 'skipped', 'failed')),
    constraint delivery_reason_class_check check (
        reason_class in ('inactive', 'paused', 'unmatched', 'filter', 'route', 'credential', 'budget', 'engine', 'tool')),
    constraint delivery_source_dedupe_key unique (source_id, dedupe_key)
);
create index delivery_page_idx on eventsvc.delivery (tenant_id, received_at desc, delivery_id desc);
create index delivery_source_idx on eventsvc.delivery (source_id, received_at desc, delivery_id desc);
create index delivery_received_idx on eventsvc.delivery (received_at);

-- One trigger's answer to one delivery; its id is the id of the event. `attempt` is 0 until it fires, and each
-- attempt makes exactly one run.
create table eventsvc.firing (
    event_id     uuid primary key,
    tenant_id    uuid not null,
    delivery_id  uuid not null,
    trigger_id   uuid not null,
    attempt      int not null,
    status       text not null,
    reason_class text,
    reason       text,
    fired_at     timestamptz,
    run_id       uuid,
    run_status   text,
    -- When the engine was last heard of about the current attempt: the proof that it arrived.
    arrived_at   timestamptz,
    -- No foreign key to delivery: both are written by one statement, and a check per row would cost a fifth of the rate.
    constraint firing_delivery_trigger_key unique (delivery_id, trigger_id),
    constraint firing_status_check check (status in ('fired', 'held', 'filtered', 'skipped', 'failed'))
);
create index firing_trigger_idx on eventsvc.firing (trigger_id);
create index firing_held_idx on eventsvc.firing (trigger_id) where status = 'held';
create index firing_unheard_idx on eventsvc.firing (fired_at) where status = 'fired' and arrived_at is null;

-- What became of a delivery after it was received. Receiving, verifying, deduplicating, matching and the first firing
-- are one commit and are read from the rows above; a step is what happened later.
create table eventsvc.delivery_step (
    delivery_id uuid not null,
    step_no     bigint generated always as identity,
    tenant_id   uuid not null,
    event_id    uuid not null,
    attempt     int not null,
    step        text not null,
    run_id      uuid,
    detail      jsonb not null default '{}',
    at          timestamptz not null,
    constraint delivery_step_pkey primary key (delivery_id, step_no),
    constraint delivery_step_delivery_fkey foreign key (delivery_id)
        references eventsvc.delivery (delivery_id) on delete cascade,
    constraint delivery_step_check check (step in (
        'replayed', 'released', 'republished',
        'run_created', 'run_started', 'run_waiting', 'run_finished', 'run_refused'))
);

-- Deliveries come and go at the rate of events: vacuum by count, not by share.
alter table eventsvc.delivery set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
alter table eventsvc.firing set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

do $$
declare
    owned text;
begin
    foreach owned in array array['source', 'trigger', 'trigger_stat', 'delivery', 'firing', 'delivery_step'] loop
        execute format('alter table eventsvc.%I enable row level security', owned);
        execute format('alter table eventsvc.%I force row level security', owned);
        execute format('create policy tenant on eventsvc.%I to eventsvc_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on eventsvc.%I to eventsvc_system using (true)', owned);
    end loop;
end $$;
