-- The credential store. The first migration of the schema, so there is no old code to look at it.
-- Nothing in these tables is plaintext but names, metadata and the mask (field names, last four characters of long
-- values): `sealed` is under a data key, `data_key` under the tenant's key, `tenant_key.wrapped` under the root key.

create table credsvc.tenant_key (
    tenant_id    uuid not null,
    version      int not null,
    -- sy:v<root version>:<base64url of nonce, ciphertext, tag>
    wrapped      text not null,
    root_version int not null,
    state        text not null default 'active',
    created_at   timestamptz not null default now(),
    constraint tenant_key_pkey primary key (tenant_id, version),
    constraint tenant_key_state_check check (state in ('active', 'retiring', 'retired'))
);
create unique index tenant_key_active_key on credsvc.tenant_key (tenant_id) where state = 'active';

create table credsvc.credential (
    credential_id      uuid not null,
    tenant_id          uuid not null,
    -- Null: the tenant's, usable by anyone's agent.
    user_id            uuid,
    name               text not null,
    type               text not null,
    environment        text not null,
    meta               jsonb not null,
    mask               jsonb not null,
    -- Of the secret; `revision` also counts edits of name and metadata (the ETag).
    version            int not null default 1,
    revision           int not null default 1,
    tenant_key_version int not null,
    -- sy:v<tenant key version>:…
    data_key           text not null,
    -- sy:v<version>:…
    sealed             text not null,
    created_by         uuid not null,
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now(),
    last_used_at       timestamptz,
    deleted_at         timestamptz,
    constraint credential_pkey primary key (credential_id),
    constraint credential_tenant_key unique (tenant_id, credential_id),
    constraint credential_tenant_key_fkey foreign key (tenant_id, tenant_key_version)
        references credsvc.tenant_key (tenant_id, version),
    constraint credential_environment_check
        check (environment in ('development', 'staging', 'production')),
    constraint credential_name_check check (length(name) between 1 and 200),
    constraint credential_meta_check check (jsonb_typeof(meta) = 'object'),
    constraint credential_version_check check (version >= 1 and revision >= version),
    constraint credential_sealed_check check (sealed like 'sy:v%' and data_key like 'sy:v%')
);
create unique index credential_name_key on credsvc.credential (tenant_id, environment, name)
    where deleted_at is null;
create index credential_list_idx on credsvc.credential (tenant_id, created_at desc, credential_id desc)
    where deleted_at is null;
create index credential_deleted_idx on credsvc.credential (deleted_at) where deleted_at is not null;

-- The right of one agent or trigger, owned by one person, to use one credential. Resolving outside one is refused, so
-- that a service which is broken into cannot read everything.
create table credsvc.credential_grant (
    grant_id      uuid not null,
    tenant_id     uuid not null,
    credential_id uuid not null,
    grantee_kind  text not null,
    grantee_id    uuid not null,
    owner         uuid not null,
    granted_by    uuid not null,
    created_at    timestamptz not null default now(),
    constraint credential_grant_pkey primary key (grant_id),
    constraint credential_grant_key
        unique (tenant_id, credential_id, grantee_kind, grantee_id, owner),
    constraint credential_grant_credential_fkey foreign key (tenant_id, credential_id)
        references credsvc.credential (tenant_id, credential_id) on delete cascade,
    constraint credential_grant_kind_check check (grantee_kind in ('agent', 'trigger'))
);
create index credential_grant_grantee_idx
    on credsvc.credential_grant (tenant_id, grantee_kind, grantee_id);

-- The end of each tenant's chain. Locked for every append, which gives the rows their order; it also makes a missing
-- tail visible.
create table credsvc.audit_head (
    tenant_id uuid not null,
    seq       bigint not null default 0,
    hash      bytea not null,
    constraint audit_head_pkey primary key (tenant_id),
    constraint audit_head_hash_check check (length(hash) = 32)
);

create table credsvc.audit (
    tenant_id     uuid not null,
    seq           bigint not null,
    occurred_at   timestamptz not null,
    actor         text not null,
    on_behalf_of  uuid,
    action        text not null,
    credential_id uuid,
    grantee       text,
    run_id        uuid,
    purpose       text,
    host          text,
    remote        text,
    request_id    text,
    outcome       text not null,
    reason        text,
    prev_hash     bytea not null,
    hash          bytea not null,
    constraint audit_pkey primary key (tenant_id, seq),
    constraint audit_outcome_check check (outcome in ('ok', 'refused', 'failed')),
    constraint audit_hash_check check (length(prev_hash) = 32 and length(hash) = 32)
);
create index audit_credential_idx on credsvc.audit (tenant_id, credential_id, seq desc);

do $$
declare
    owned text;
begin
    foreach owned in array array['tenant_key', 'credential', 'credential_grant', 'audit_head', 'audit'] loop
        execute format('alter table credsvc.%I enable row level security', owned);
        execute format('alter table credsvc.%I force row level security', owned);
        execute format('create policy tenant on credsvc.%I to credsvc_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on credsvc.%I to credsvc_system using (true)', owned);
    end loop;
end $$;

-- What happened stays: no login of the service can rewrite or remove it.
revoke update, delete on credsvc.audit from credsvc_app, credsvc_system;
revoke delete on credsvc.audit_head from credsvc_app, credsvc_system;
