-- Types of tenants' own, expiry, health, host limits, honey, and OAuth connections with the state of their refresh.
-- Older code ignores the new columns: it neither refreshes nor looks at expiry, and stores credentials without them.

alter table credsvc.credential
    add column expires_at          timestamptz,
    -- Empty: any host.
    add column allowed_hosts       text[] not null default '{}',
    -- Bait: whoever uses it is not who they should be.
    add column honey               boolean not null default false,
    add column health              text not null default 'ok',
    add column health_reason       text,
    -- {at, outcome, latency_ms, message} of the last test.
    add column tested              jsonb,
    -- The client and provider of an OAuth connection.
    add column provider_config_id  uuid,
    add column account             text,
    add column scopes              text[] not null default '{}',
    -- Of the access token; null: it does not expire, or there is none yet.
    add column token_expires_at    timestamptz,
    -- When a token is renewed without anybody asking; null: never.
    add column refresh_due_at      timestamptz,
    -- Who renews holds the lease; the fence rises with each holder, and a late failure of an old one counts nothing.
    add column refresh_lease_until timestamptz,
    add column refresh_fence       bigint not null default 0,
    add column refresh_failures    int not null default 0,
    add column refreshed_at        timestamptz,
    add constraint credential_health_check
        check (health in ('ok', 'expiring', 'needs_reconnect', 'failed_test', 'revoked', 'expired'));
create index credential_refresh_idx on credsvc.credential (refresh_due_at)
    where refresh_due_at is not null and deleted_at is null;
create index credential_expiry_idx on credsvc.credential (expires_at)
    where expires_at is not null and deleted_at is null;
create index credential_key_idx on credsvc.credential (tenant_id, tenant_key_version, credential_id);

-- A tenant's own types; those of the platform are in the program.
create table credsvc.credential_type (
    tenant_id  uuid not null,
    name       text not null,
    definition jsonb not null,
    created_by uuid not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint credential_type_pkey primary key (tenant_id, name),
    constraint credential_type_definition_check check (jsonb_typeof(definition) = 'object')
);

-- A client that the tenant, or the platform for all tenants, has registered with a provider.
create table credsvc.provider_config (
    provider_config_id uuid not null,
    tenant_id          uuid not null,
    -- Every tenant may use it; sealed under the key of the tenant whose platform administrator made it.
    platform           boolean not null default false,
    name               text not null,
    provider           text not null,
    client_id          text not null,
    settings           jsonb not null,
    version            int not null default 1,
    tenant_key_version int not null,
    data_key           text not null,
    sealed             text not null,
    created_by         uuid not null,
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now(),
    constraint provider_config_pkey primary key (provider_config_id),
    constraint provider_config_name_key unique (tenant_id, name),
    constraint provider_config_tenant_key_fkey foreign key (tenant_id, tenant_key_version)
        references credsvc.tenant_key (tenant_id, version),
    constraint provider_config_settings_check check (jsonb_typeof(settings) = 'object'),
    constraint provider_config_sealed_check check (sealed like 'sy:v%' and data_key like 'sy:v%')
);
create index provider_config_key_idx on credsvc.provider_config (tenant_id, tenant_key_version);
create unique index provider_config_platform_key on credsvc.provider_config (name) where platform;

-- A link by which somebody connects an account. Of its secrets only hashes are kept.
create table credsvc.connect_session (
    connect_session_id uuid not null,
    tenant_id          uuid not null,
    provider_config_id uuid not null,
    -- The credential to be connected again, or the one that was made.
    credential_id      uuid,
    user_id            uuid,
    type               text not null,
    name               text not null,
    environment        text not null,
    meta               jsonb not null,
    scopes             text[] not null,
    allowed_hosts      text[] not null default '{}',
    return_url         text,
    link_hash          bytea not null,
    -- Set when the link is opened: the state that the provider gives back, and the browser it was given to.
    state_hash         bytea,
    browser_hash       bytea,
    status             text not null default 'pending',
    reason             text,
    created_by         uuid not null,
    created_at         timestamptz not null default now(),
    expires_at         timestamptz not null,
    constraint connect_session_pkey primary key (connect_session_id),
    constraint connect_session_config_fkey foreign key (provider_config_id)
        references credsvc.provider_config (provider_config_id) on delete cascade,
    constraint connect_session_status_check check (status in ('pending', 'opened', 'exchanging', 'connected', 'failed'))
);
create index connect_session_expiry_idx on credsvc.connect_session (expires_at);

do $$
declare
    owned text;
begin
    foreach owned in array array['credential_type', 'provider_config', 'connect_session'] loop
        execute format('alter table credsvc.%I enable row level security', owned);
        execute format('alter table credsvc.%I force row level security', owned);
        execute format('create policy tenant on credsvc.%I to credsvc_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on credsvc.%I to credsvc_system using (true)', owned);
    end loop;
end $$;
-- Everybody may read, and so use, what the platform has registered.
create policy platform on credsvc.provider_config for select to credsvc_app using (platform);
