-- A version of an agent holds its tools too, so that giving or taking one is an edit like any other. Older code leaves
-- the new columns at their defaults.
alter table engine.agent_version
    -- The rows of `agent_tool` as they were, with the tool's name; their columns are the keys.
    add column tools jsonb not null default '[]',
    add column change text not null default 'edited';
alter table engine.agent_version
    add constraint agent_version_change_known check (change in ('created', 'edited', 'tools', 'restored'));

-- The tools an agent has now, as its versions keep them.
create function engine.tools_of(tenant uuid, agent uuid) returns jsonb language sql stable as $$
    select coalesce(jsonb_agg(
        to_jsonb(l) - '{agent_id,tenant_id,assigned_by,assigned_at}'::text[]
        || jsonb_build_object('tool_name', t.name) order by l.priority, l.tool_id), '[]')
    from engine.agent_tool l join engine.tool t on t.tool_id = l.tool_id and t.tenant_id = l.tenant_id
    where l.tenant_id = tenant and l.agent_id = agent
$$;

-- Versions made before this had the tools that the agent has now, as far as anybody can say.
create policy owner on engine.agent_version to engine_owner using (true);
create policy owner on engine.agent_tool to engine_owner using (true);
create policy owner on engine.tool to engine_owner using (true);
update engine.agent_version set tools = engine.tools_of(tenant_id, agent_id);
