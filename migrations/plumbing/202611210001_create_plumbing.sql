-- What every service's schema holds beside its own tables: events to send, events seen, events set aside, answers
-- remembered. Names are unqualified on purpose: the migrator sets search_path to the service's schema.

create table outbox (
    message_id   uuid primary key,
    tenant_id    uuid not null,
    event_id     uuid not null,
    attempt      int not null default 0,
    subject      text not null,
    envelope     jsonb not null,
    created_at   timestamptz not null default now(),
    published_at timestamptz,
    -- The stream's sequence from the broker's acknowledgement; compared with the stream's last
    -- sequence to notice a broker whose store was rolled back.
    stream       text,
    stream_seq   bigint
);
create index outbox_unpublished_idx on outbox (created_at) where published_at is null;
create index outbox_published_idx on outbox (published_at) where published_at is not null;
create index outbox_stream_idx on outbox (stream, stream_seq) where published_at is not null;
-- Rows come and go at the rate of events: vacuum by count, not by share.
alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
                        autovacuum_vacuum_cost_delay = 0);

-- One row per event a consumer has taken, so that a redelivery is dropped.
create table inbox (
    consumer    text not null,
    message_id  uuid not null,
    tenant_id   uuid not null,
    received_at timestamptz not null default now(),
    constraint inbox_pkey primary key (consumer, message_id)
);
create index inbox_received_idx on inbox (received_at);

-- Events whose own handling failed for good; a person lists, replays or drops them.
create table parked (
    consumer   text not null,
    message_id uuid not null,
    tenant_id  uuid not null,
    subject    text not null,
    envelope   jsonb not null,
    reason     text not null,
    deliveries int not null,
    parked_at  timestamptz not null default now(),
    -- Set when a person asks for another try; the consumer takes the event from here, so nobody else hears it again.
    replay_requested_at timestamptz,
    constraint parked_pkey primary key (consumer, message_id)
);
create index parked_replay_idx on parked (consumer) where replay_requested_at is not null;

-- How often an event's own handling failed; what a broken dependency caused is not counted.
create table listener_failure (
    consumer    text not null,
    message_id  uuid not null,
    tenant_id   uuid not null,
    failures    int not null,
    last_reason text not null,
    failed_at   timestamptz not null default now(),
    constraint listener_failure_pkey primary key (consumer, message_id)
);

-- The answer given under an Idempotency-Key, for 24 hours.
create table idempotency (
    tenant_id  uuid not null,
    principal  text not null,
    route      text not null,
    key        text not null,
    body_hash  bytea not null,
    status     int not null,
    answer     jsonb not null,
    created_at timestamptz not null default now(),
    constraint idempotency_pkey primary key (tenant_id, principal, route, key)
);
create index idempotency_created_idx on idempotency (created_at);

do $$
declare
    plumbing text;
    schema   text := current_schema();
begin
    foreach plumbing in array array['outbox', 'inbox', 'parked', 'listener_failure', 'idempotency'] loop
        execute format('alter table %I enable row level security', plumbing);
        execute format('alter table %I force row level security', plumbing);
        execute format('create policy tenant on %I to %I using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', plumbing, schema || '_app');
        execute format('create policy system on %I to %I using (true)', plumbing, schema || '_system');
    end loop;
end $$;
