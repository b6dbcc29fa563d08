-- Agents, their history, tools, and which agent has which tool. New tables: older code does not look at them.

-- What an agent is now. What can be edited is in its newest version; here is what lists are filtered by.
create table engine.agent (
    agent_id   uuid primary key,
    tenant_id  uuid not null,
    name       text not null,
    scope      text not null,
    owner_id   uuid not null,
    team_id    uuid,
    status     text not null,
    version    int not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Runs and versions point here, so an agent is never gone for good.
    deleted_at timestamptz,
    -- It is gone, but may still hold grants: they end when its last run has.
    grants_due boolean not null default false,
    constraint agent_scope_known check (scope in ('user', 'team')),
    constraint agent_team_set check ((scope = 'team') = (team_id is not null)),
    constraint agent_status_known check (status in ('active', 'inactive', 'paused', 'archived'))
);
create unique index agent_tenant_name_key on engine.agent (tenant_id, name) where deleted_at is null;
create index agent_grants_due_idx on engine.agent (agent_id) where grants_due;
create index agent_page_idx on engine.agent (tenant_id, created_at desc, agent_id desc);

-- Every edit is a version; a run pins one.
create table engine.agent_version (
    agent_id   uuid not null references engine.agent,
    version    int not null,
    tenant_id  uuid not null,
    definition jsonb not null,
    changed_by uuid not null,
    changed_at timestamptz not null default now(),
    constraint agent_version_pkey primary key (agent_id, version)
);

create table engine.tool (
    tool_id    uuid primary key,
    tenant_id  uuid not null,
    name       text not null,
    kind       text not null,
    owner_id   uuid not null,
    version    int not null,
    definition jsonb not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint tool_tenant_name_key unique (tenant_id, name),
    constraint tool_kind_known check (kind in ('http', 'mcp', 'builtin', 'agent', 'app'))
);
create index tool_page_idx on engine.tool (tenant_id, created_at desc, tool_id desc);

-- An agent's tools. The credential goes to the hosts that the tool had when the credential was attached, and to no other:
-- whoever edits the tool later cannot send it elsewhere.
create table engine.agent_tool (
    agent_id         uuid not null references engine.agent,
    tool_id          uuid not null references engine.tool,
    tenant_id        uuid not null,
    priority         int not null,
    -- What the model sees instead of the tool's own name and description.
    name             text,
    description      text,
    -- A merge patch over the tool's own configuration.
    config           jsonb not null,
    credential_id    uuid,
    credential_hosts text[] not null,
    assigned_by      uuid not null,
    assigned_at      timestamptz not null default now(),
    constraint agent_tool_pkey primary key (agent_id, tool_id)
);
create index agent_tool_tool_idx on engine.agent_tool (tool_id);
create index agent_tool_credential_idx on engine.agent_tool (tenant_id, credential_id) where credential_id is not null;

do $$
declare
    tbl text;
begin
    foreach tbl in array array['agent', 'agent_version', 'tool', 'agent_tool'] loop
        execute format('alter table engine.%I enable row level security', tbl);
        execute format('alter table engine.%I force row level security', tbl);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', tbl);
        execute format('create policy system on engine.%I to engine_system using (true)', tbl);
    end loop;
end $$;
