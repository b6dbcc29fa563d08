-- Where tools come from, child runs, and what agents remember. New columns are null or have a default: older code does
-- not look at them.

-- A description of an API that tools were made of; importing it again changes them in place.
create table engine.tool_import (
    import_id  uuid primary key,
    tenant_id  uuid not null,
    name       text not null,
    owner_id   uuid not null,
    source     text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint tool_import_tenant_name_key unique (tenant_id, name)
);

-- A Model Context Protocol server. Its tools are rows of `tool`, made by asking it.
create table engine.mcp_server (
    server_id    uuid primary key,
    tenant_id    uuid not null,
    name         text not null,
    owner_id     uuid not null,
    version      int not null,
    definition   jsonb not null,
    -- Only an administrator believes what a server says about what its tools do.
    trusted      boolean not null default false,
    trusted_by   uuid,
    -- What the last refresh found.
    protocol     text,
    server_info  jsonb,
    refreshed_at timestamptz,
    error        text,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    constraint mcp_server_tenant_name_key unique (tenant_id, name)
);

alter table engine.tool
    add column import_id uuid references engine.tool_import,
    add column server_id uuid references engine.mcp_server,
    -- What it was made of: `GET /pets/{id}`, or the name the server gives it.
    add column origin_key text;
create unique index tool_import_origin_key on engine.tool (import_id, origin_key) where import_id is not null;
create unique index tool_server_origin_key on engine.tool (server_id, origin_key) where server_id is not null;

-- A run that an agent's call has started: it belongs to that call, and its end is the call's answer.
alter table engine.run
    add column parent_call_id text,
    add column depth int not null default 0;
create index run_parent_idx on engine.run (parent_run_id) where parent_run_id is not null;

-- What an agent was told to remember, for itself or about one person or conversation.
create table engine.agent_memory (
    tenant_id  uuid not null,
    agent_id   uuid not null,
    -- Empty for what is the agent's own.
    subject    text not null,
    key        text not null,
    value      text not null,
    updated_at timestamptz not null default now(),
    constraint agent_memory_pkey primary key (tenant_id, agent_id, subject, key)
);

do $$
declare
    tbl text;
begin
    foreach tbl in array array['tool_import', 'mcp_server', 'agent_memory'] loop
        execute format('alter table engine.%I enable row level security', tbl);
        execute format('alter table engine.%I force row level security', tbl);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', tbl);
        execute format('create policy system on engine.%I to engine_system using (true)', tbl);
    end loop;
end $$;
