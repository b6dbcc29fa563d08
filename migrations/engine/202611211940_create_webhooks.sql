-- Outbound webhooks: where a tenant wants to be told of its runs, and what became of telling it. Older code knows nothing
-- of them. Signing secrets are credentials; here is only which.

create table engine.webhook_endpoint (
    endpoint_id     uuid primary key,
    tenant_id       uuid not null,
    url             text not null,
    description     text not null,
    -- Which events; none named means all.
    event_types     text[] not null,
    enabled         boolean not null,
    disabled_reason text,
    -- Since when every attempt has failed.
    failing_since   timestamptz,
    -- Who made it: in whose name its secret was granted.
    owner_id        uuid not null,
    credential_id   uuid not null,
    -- Until when the secret before the present one signs as well.
    previous_until  timestamptz,
    version         int not null default 1,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    constraint webhook_endpoint_reason_check check (enabled = (disabled_reason is null))
);
create index webhook_endpoint_tenant_idx on engine.webhook_endpoint (tenant_id, created_at desc, endpoint_id desc);

-- One event for one endpoint. While it is pending, `next_attempt_at` says when it is due: whoever takes it moves that on by
-- as long as an attempt can take, so what a dead process had taken is due again by itself.
create table engine.webhook_delivery (
    endpoint_id     uuid not null,
    message_id      uuid not null,
    tenant_id       uuid not null,
    event_type      text not null,
    run_id          uuid,
    body            text not null,
    status          text not null,
    -- Attempts ever, attempts since it was last asked for, and how often it was taken.
    attempts        int not null default 0,
    tries           int not null default 0,
    claims          int not null default 0,
    next_attempt_at timestamptz,
    status_code     int,
    response        text,
    error           text,
    occurred_at     timestamptz not null,
    created_at      timestamptz not null default now(),
    ended_at        timestamptz,
    constraint webhook_delivery_pkey primary key (endpoint_id, message_id),
    constraint webhook_delivery_endpoint_fkey foreign key (endpoint_id)
        references engine.webhook_endpoint (endpoint_id) on delete cascade,
    constraint webhook_delivery_status_check check (status in ('pending', 'delivered', 'failed', 'skipped')),
    constraint webhook_delivery_due_check check ((status = 'pending') = (next_attempt_at is not null))
);
create index webhook_delivery_due_idx on engine.webhook_delivery (endpoint_id, next_attempt_at) where status = 'pending';
create index webhook_delivery_page_idx on engine.webhook_delivery (endpoint_id, created_at desc, message_id desc);
create index webhook_delivery_age_idx on engine.webhook_delivery (created_at);

create table engine.webhook_attempt (
    endpoint_id uuid not null,
    message_id  uuid not null,
    n           int not null,
    tenant_id   uuid not null,
    at          timestamptz not null,
    duration_ms int not null,
    status_code int,
    response    text,
    error       text,
    constraint webhook_attempt_pkey primary key (endpoint_id, message_id, n),
    constraint webhook_attempt_delivery_fkey foreign key (endpoint_id, message_id)
        references engine.webhook_delivery (endpoint_id, message_id) on delete cascade
);

alter table engine.webhook_endpoint enable row level security;
alter table engine.webhook_endpoint force row level security;
create policy tenant on engine.webhook_endpoint to engine_app
    using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.webhook_endpoint to engine_system using (true);

alter table engine.webhook_delivery enable row level security;
alter table engine.webhook_delivery force row level security;
create policy tenant on engine.webhook_delivery to engine_app
    using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.webhook_delivery to engine_system using (true);

alter table engine.webhook_attempt enable row level security;
alter table engine.webhook_attempt force row level security;
create policy tenant on engine.webhook_attempt to engine_app
    using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.webhook_attempt to engine_system using (true);
-- A row that goes with the one it belongs to is deleted by the owner.
create policy owner on engine.webhook_delivery to engine_owner using (true);
create policy owner on engine.webhook_attempt to engine_owner using (true);
