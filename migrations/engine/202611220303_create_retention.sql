-- How long each tenant wants things kept; null is as the platform does. Older code does not look at it: while it runs beside,
-- it may forget what a tenant wants kept longer than the platform would. No tenant has said anything before all code is new.

create table engine.retention (
    tenant_id         uuid primary key,
    content_days      int,
    run_days          int,
    conversation_days int,
    memory_days       int,
    usage_days        int,
    webhook_days      int,
    version           int not null default 0,
    updated_by        uuid,
    updated_at        timestamptz not null default now(),
    constraint retention_content_check check (content_days between 1 and 3650),
    constraint retention_run_check check (run_days between 1 and 3650),
    constraint retention_conversation_check check (conversation_days between 1 and 3650),
    constraint retention_memory_check check (memory_days between 1 and 3650),
    constraint retention_usage_check check (usage_days between 62 and 3650),
    constraint retention_webhook_check check (webhook_days between 1 and 400)
);

-- Who has changed that, when, and to what: written once, never changed.
create table engine.retention_change (
    tenant_id  uuid not null,
    version    int not null,
    changed_by uuid not null,
    -- The API key by which they did.
    key_id     uuid,
    changed_at timestamptz not null default now(),
    before     jsonb not null,
    after      jsonb not null,
    constraint retention_change_pkey primary key (tenant_id, version)
);

do $$
declare
    owned text;
begin
    foreach owned in array array['retention', 'retention_change'] loop
        execute format('alter table engine.%I enable row level security', owned);
        execute format('alter table engine.%I force row level security', owned);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on engine.%I to engine_system using (true)', owned);
    end loop;
end $$;
revoke update, delete on engine.retention_change from engine_app;
