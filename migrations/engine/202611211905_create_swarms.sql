-- Swarms: agents that work together under one name, each edit of them, and which is above which. New tables and nullable
-- columns: older code does not look at them. A run of a swarm that an older process claims during a roll-out is driven
-- as a run of its first member's shell, which has nothing to say: start no swarms before the last old process is gone.

-- What a swarm is now. What can be edited is in its newest version; here is what lists are filtered by.
create table engine.swarm (
    swarm_id   uuid primary key,
    tenant_id  uuid not null,
    name       text not null,
    scope      text not null,
    owner_id   uuid not null,
    team_id    uuid,
    status     text not null,
    mode       text not null,
    version    int not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Runs and versions point here, so a swarm is never gone for good.
    deleted_at timestamptz,
    constraint swarm_scope_known check (scope in ('user', 'team')),
    constraint swarm_team_set check ((scope = 'team') = (team_id is not null)),
    constraint swarm_status_known check (status in ('active', 'inactive', 'paused', 'archived')),
    constraint swarm_mode_known check (mode in ('workflow', 'handoff', 'team'))
);
create unique index swarm_tenant_name_key on engine.swarm (tenant_id, name) where deleted_at is null;
create index swarm_page_idx on engine.swarm (tenant_id, created_at desc, swarm_id desc);

-- Every edit is a version; a run pins one.
create table engine.swarm_version (
    swarm_id   uuid not null references engine.swarm,
    version    int not null,
    tenant_id  uuid not null,
    definition jsonb not null,
    change     text not null,
    changed_by uuid not null,
    changed_at timestamptz not null default now(),
    constraint swarm_version_pkey primary key (swarm_id, version)
);

-- Which swarm stands above which, as a parent or because it has the other as a member. Never in a circle.
create table engine.swarm_edge (
    tenant_id uuid not null,
    above_id  uuid not null references engine.swarm,
    below_id  uuid not null references engine.swarm,
    kind      text not null,
    constraint swarm_edge_pkey primary key (above_id, below_id, kind),
    constraint swarm_edge_kind_known check (kind in ('parent', 'member'))
);
create index swarm_edge_below_idx on engine.swarm_edge (below_id);

-- Agents that were made with a swarm, and may go with it.
create table engine.swarm_agent (
    swarm_id  uuid not null references engine.swarm,
    agent_id  uuid not null references engine.agent,
    tenant_id uuid not null,
    constraint swarm_agent_pkey primary key (swarm_id, agent_id)
);

-- The swarm that a run is of; its `agent_id` is then the member that begins.
alter table engine.run
    add column swarm_id uuid,
    add column swarm_version int,
    add column swarm_name text;

do $$
declare
    tbl text;
begin
    foreach tbl in array array['swarm', 'swarm_version', 'swarm_edge', 'swarm_agent'] loop
        execute format('alter table engine.%I enable row level security', tbl);
        execute format('alter table engine.%I force row level security', tbl);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', tbl);
        execute format('create policy system on engine.%I to engine_system using (true)', tbl);
    end loop;
end $$;
