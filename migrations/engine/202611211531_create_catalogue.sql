-- What a run starts with (agents, their tools) is kept in memory by every process. Each change raises the tenant's
-- revision, in the change's own transaction; a run is only made when the revision is still the one its snapshot was
-- read at. Older code does not look at the table, but its changes raise the revision all the same.

create table engine.catalogue (
    tenant_id uuid primary key,
    revision  bigint not null
) with (fillfactor = 50);
alter table engine.catalogue enable row level security;
alter table engine.catalogue force row level security;
create policy tenant on engine.catalogue to engine_app using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.catalogue to engine_system using (true);
create policy owner on engine.catalogue to engine_owner using (true);

create function engine.note_change() returns trigger language plpgsql as $$
begin
    insert into engine.catalogue (tenant_id, revision) values (coalesce(new.tenant_id, old.tenant_id), 1)
    on conflict (tenant_id) do update set revision = engine.catalogue.revision + 1;
    return null;
end $$;

-- At the end of the transaction, when it waits for no other row any more: two that change the same tenant queue up here
-- and never hold what the other one needs.
create constraint trigger agent_changes after insert or update or delete on engine.agent
    deferrable initially deferred for each row execute function engine.note_change();
create constraint trigger agent_version_changes after insert or update or delete on engine.agent_version
    deferrable initially deferred for each row execute function engine.note_change();
create constraint trigger tool_changes after insert or update or delete on engine.tool
    deferrable initially deferred for each row execute function engine.note_change();
create constraint trigger agent_tool_changes after insert or update or delete on engine.agent_tool
    deferrable initially deferred for each row execute function engine.note_change();
