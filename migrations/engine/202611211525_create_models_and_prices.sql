-- What a tenant says about models and their prices, and what was used. New tables and a relaxed column: older code is
-- not disturbed.

-- A model as agents of the tenant name it. Models that are not here follow the platform's defaults.
create table engine.model_setting (
    model_id       uuid primary key,
    tenant_id      uuid not null,
    -- `provider:model`, or `provider:*` for all that are not named.
    name           text not null,
    api            text not null,
    -- What the provider calls it; none for what follows the colon.
    provider_model text,
    base_url       text,
    credential_id  uuid,
    -- The person in whose name the credential was granted.
    owner_id       uuid not null,
    enabled        boolean not null,
    kind           text not null,
    task           text not null,
    context_window int,
    description    text not null,
    version        int not null default 1,
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now(),
    constraint model_setting_name_key unique (tenant_id, name),
    constraint model_setting_api_known check (api in ('openai', 'anthropic', 'gemini', 'sim')),
    constraint model_setting_kind_known check (kind in ('internal', 'hosted')),
    constraint model_setting_task_known check (task in ('chat', 'embedding'))
);

-- What a tenant pays, by date, in millionths of a dollar for a million tokens. What is not here costs what the
-- platform's own list says.
create table engine.price (
    price_id       uuid primary key,
    tenant_id      uuid not null,
    model          text not null,
    effective_from timestamptz not null,
    input          bigint not null,
    cache_read     bigint not null,
    cache_write    bigint not null,
    output         bigint not null,
    reasoning      bigint not null,
    created_by     uuid not null,
    created_at     timestamptz not null default now(),
    constraint price_model_date_key unique (tenant_id, model, effective_from),
    constraint price_not_negative check (least(input, cache_read, cache_write, output, reasoning) >= 0)
);

-- What was used on a day (UTC). Each committer adds to rows of its own `slot`, so that none waits for another.
create table engine.usage (
    tenant_id          uuid not null,
    day                date not null,
    -- The nil id for calls that no agent made.
    agent_id           uuid not null,
    model              text not null,
    slot               smallint not null,
    calls              bigint not null,
    -- Calls whose cost is not known: no price, or given up before the provider said what they took.
    unpriced_calls     bigint not null,
    input_tokens       bigint not null,
    cache_read_tokens  bigint not null,
    cache_write_tokens bigint not null,
    output_tokens      bigint not null,
    reasoning_tokens   bigint not null,
    cost_micro_usd     bigint not null,
    constraint usage_pkey primary key (tenant_id, day, agent_id, model, slot)
) with (fillfactor = 50);

-- Null says that the cost is not known, because one of the models has no price.
alter table engine.run alter column cost_micro_usd drop not null;

do $$
declare
    tbl text;
begin
    foreach tbl in array array['model_setting', 'price', 'usage'] loop
        execute format('alter table engine.%I enable row level security', tbl);
        execute format('alter table engine.%I force row level security', tbl);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', tbl);
        execute format('create policy system on engine.%I to engine_system using (true)', tbl);
    end loop;
end $$;
