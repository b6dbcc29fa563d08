-- Tenants, teams, people, their roles and keys, the services' public keys, and what administrators changed. The first
-- migration of the schema, so there is no old code to look at it.

create table gateway.tenant (
    tenant_id     uuid not null,
    kind          text not null,
    slug          text not null,
    name          text not null,
    plan          text not null default 'free',
    contact_email text,
    limits        jsonb not null default '{}',
    settings      jsonb not null default '{}',
    status        text not null default 'active',
    -- Which organization of an identity provider this is.
    external_id   text,
    version       int not null default 1,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint tenant_pkey primary key (tenant_id),
    constraint tenant_slug_key unique (slug),
    constraint tenant_external_id_key unique (external_id),
    constraint tenant_kind_check check (kind in ('personal', 'organization')),
    constraint tenant_status_check check (status in ('active', 'suspended', 'deleting')),
    constraint tenant_slug_check check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    constraint tenant_name_check check (length(name) between 1 and 200),
    constraint tenant_limits_check check (jsonb_typeof(limits) = 'object'),
    constraint tenant_settings_check check (jsonb_typeof(settings) = 'object')
);
create index tenant_page_idx on gateway.tenant (created_at desc, tenant_id desc);

-- People exist once, whatever tenants they are members of.
create table gateway.app_user (
    user_id    uuid not null,
    email      text not null,
    name       text not null,
    status     text not null default 'active',
    created_at timestamptz not null default now(),
    constraint app_user_pkey primary key (user_id),
    constraint app_user_email_key unique (email),
    constraint app_user_email_check check (email = lower(email) and length(email) between 3 and 254),
    constraint app_user_name_check check (length(name) between 1 and 200),
    constraint app_user_status_check check (status in ('active', 'disabled'))
);

create table gateway.membership (
    tenant_id         uuid not null,
    user_id           uuid not null,
    role              text not null,
    can_view_payloads boolean not null default true,
    version           int not null default 1,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    constraint membership_pkey primary key (tenant_id, user_id),
    constraint membership_tenant_fkey foreign key (tenant_id) references gateway.tenant,
    constraint membership_user_fkey foreign key (user_id) references gateway.app_user,
    constraint membership_role_check check (role in ('viewer', 'member', 'admin', 'owner'))
);
create index membership_user_idx on gateway.membership (user_id);
create index membership_page_idx on gateway.membership (tenant_id, created_at desc, user_id desc);

create table gateway.team (
    team_id      uuid not null,
    tenant_id    uuid not null,
    name         text not null,
    -- The one every member is in; people see teams only when there is a second.
    default_team boolean not null default false,
    version      int not null default 1,
    created_at   timestamptz not null default now(),
    constraint team_pkey primary key (team_id),
    constraint team_tenant_key unique (tenant_id, team_id),
    constraint team_tenant_fkey foreign key (tenant_id) references gateway.tenant,
    constraint team_name_check check (length(name) between 1 and 200),
    constraint team_name_key unique (tenant_id, name)
);
create unique index team_default_key on gateway.team (tenant_id) where default_team;
create index team_page_idx on gateway.team (tenant_id, created_at desc, team_id desc);

create table gateway.team_member (
    tenant_id uuid not null,
    team_id   uuid not null,
    user_id   uuid not null,
    added_at  timestamptz not null default now(),
    constraint team_member_pkey primary key (tenant_id, team_id, user_id),
    constraint team_member_team_fkey foreign key (tenant_id, team_id)
        references gateway.team (tenant_id, team_id) on delete cascade,
    constraint team_member_membership_fkey foreign key (tenant_id, user_id)
        references gateway.membership (tenant_id, user_id) on delete cascade
);
create index team_member_user_idx on gateway.team_member (tenant_id, user_id);

-- Acts as its user, in its tenant, within its scopes. Only the hash of the key is here: 32 random bytes need no salt.
create table gateway.api_key (
    api_key_id   uuid not null,
    tenant_id    uuid not null,
    user_id      uuid not null,
    name         text not null,
    -- The first characters, by which a person recognises a key.
    prefix       text not null,
    hash         bytea not null,
    -- Null: whatever the user's role allows.
    scopes       text[],
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    created_at   timestamptz not null default now(),
    constraint api_key_pkey primary key (api_key_id),
    constraint api_key_hash_key unique (hash),
    constraint api_key_tenant_fkey foreign key (tenant_id) references gateway.tenant,
    constraint api_key_user_fkey foreign key (user_id) references gateway.app_user,
    constraint api_key_name_check check (length(name) between 1 and 200),
    constraint api_key_hash_check check (length(hash) = 32),
    constraint api_key_expiry_check check (expires_at > created_at)
);
create index api_key_page_idx on gateway.api_key (tenant_id, user_id, created_at desc, api_key_id desc);

-- Who runs the platform, above all tenants.
create table gateway.platform_admin (
    user_id    uuid not null,
    created_at timestamptz not null default now(),
    constraint platform_admin_pkey primary key (user_id),
    constraint platform_admin_user_fkey foreign key (user_id) references gateway.app_user
);

-- The public halves of the keys that services sign tokens with.
create table gateway.signing_key (
    kid        text not null,
    service    text not null,
    public_key text not null,
    created_at timestamptz not null default now(),
    -- Still honoured for an hour, so that replicas with the old and the new key can serve side by side.
    retired_at timestamptz,
    constraint signing_key_pkey primary key (kid)
);

create table gateway.audit (
    audit_id    uuid not null,
    tenant_id   uuid not null,
    occurred_at timestamptz not null default now(),
    actor       text not null,
    action      text not null,
    subject     text not null,
    detail      jsonb not null default '{}',
    remote      text,
    request_id  text,
    constraint audit_pkey primary key (audit_id)
);
create index audit_page_idx on gateway.audit (tenant_id, occurred_at desc, audit_id desc);

do $$
declare
    owned text;
begin
    foreach owned in array array['tenant', 'membership', 'team', 'team_member', 'api_key', 'audit'] loop
        execute format('alter table gateway.%I enable row level security', owned);
        execute format('alter table gateway.%I force row level security', owned);
        execute format('create policy tenant on gateway.%I to gateway_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on gateway.%I to gateway_system using (true)', owned);
    end loop;
    foreach owned in array array['app_user', 'platform_admin', 'signing_key'] loop
        execute format('alter table gateway.%I enable row level security', owned);
        execute format('alter table gateway.%I force row level security', owned);
        execute format('create policy system on gateway.%I to gateway_system using (true)', owned);
    end loop;
end $$;

-- A tenant sees the people that are its members; the sub-select is itself under membership's policy.
create policy member on gateway.app_user for select to gateway_app
    using (exists (select from gateway.membership m where m.user_id = app_user.user_id));
create policy owner on gateway.app_user to gateway_owner using (true);
revoke insert, update, delete on gateway.app_user, gateway.platform_admin, gateway.signing_key from gateway_app;

-- What happened stays: no login of the service can rewrite or remove it.
revoke update, delete on gateway.audit from gateway_app, gateway_system;

-- The one way from an e-mail address to a person: finds them, or makes them. A tenant that adds somebody learns no more
-- than that they can be added.
create function gateway.user_for_email(new_id uuid, wanted text, called text) returns uuid
    language plpgsql security definer set search_path = '' as $$
declare
    found_id uuid;
begin
    insert into gateway.app_user (user_id, email, name) values (new_id, wanted, called)
        on conflict on constraint app_user_email_key do nothing
        returning user_id into found_id;
    if found_id is null then
        select user_id into found_id from gateway.app_user where email = wanted;
    end if;
    return found_id;
end $$;
