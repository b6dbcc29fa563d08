-- What was used, also by the person whose it was. Older code goes on counting in `usage`, which says nothing of people: reports add
-- both up, and those of older code do not have what newer code has counted meanwhile.
create table engine.user_usage (
    tenant_id          uuid not null,
    day                date not null,
    -- Who started the run, or else in whose name it acts; the nil id for calls that nobody made.
    user_id            uuid not null,
    -- The nil id for calls that no agent made.
    agent_id           uuid not null,
    model              text not null,
    -- Each committer adds to rows of its own, so that none waits for another.
    slot               smallint not null,
    calls              bigint not null,
    unpriced_calls     bigint not null,
    input_tokens       bigint not null,
    cache_read_tokens  bigint not null,
    cache_write_tokens bigint not null,
    output_tokens      bigint not null,
    reasoning_tokens   bigint not null,
    cost_micro_usd     bigint not null,
    constraint user_usage_pkey primary key (tenant_id, day, user_id, agent_id, model, slot)
) with (fillfactor = 50);

alter table engine.user_usage enable row level security;
alter table engine.user_usage force row level security;
create policy tenant on engine.user_usage to engine_app
    using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.user_usage to engine_system using (true);
