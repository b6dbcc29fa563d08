-- Budgets: what may be used up by whom, what has been, and what is set aside for calls under way.
-- Older code sees none of it, and its calls are not counted: budgets hold once every process is of this release.

-- Who may use up so much in which time. A run's own budget is one as well; `path` is then the member of a swarm it is of.
create table engine.budget (
    budget_id    uuid primary key,
    -- Null for the platform's, which all tenants draw on.
    tenant_id    uuid,
    level        text not null,
    -- The tenant, user, agent or run; the nil id for the platform.
    subject_id   uuid not null,
    path         text not null default '',
    period       text not null,
    -- Of what is counted now; as old as can be while nothing is.
    period_start timestamptz not null default 'epoch',
    version      int not null default 1,
    created_by   uuid,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    constraint budget_level_check check (level in ('platform', 'tenant', 'user', 'agent', 'run')),
    constraint budget_period_check check (period in ('day', 'month', 'total')),
    constraint budget_platform_check check ((level = 'platform') = (tenant_id is null))
);
create unique index budget_subject_key on engine.budget (level, subject_id, tenant_id, period) nulls not distinct
    where level <> 'run';
create index budget_tenant_idx on engine.budget (tenant_id, created_at desc, budget_id desc) where level <> 'run';
create index budget_run_idx on engine.budget (subject_id) where level = 'run';

-- One limit of a budget, and how far it is used up. Changed by whoever holds the budget's row locked.
create table engine.budget_line (
    budget_id uuid not null,
    quantity  text not null,
    tenant_id uuid,
    cap       bigint not null,
    spent     bigint not null default 0,
    -- The sum of what is set aside.
    held      bigint not null default 0,
    -- What was used beyond what had been set aside for it.
    overshoot bigint not null default 0,
    -- The highest part of the cap, in per cent, that has been told of in this period.
    warned    smallint not null default 0,
    constraint budget_line_pkey primary key (budget_id, quantity),
    constraint budget_line_budget_fkey foreign key (budget_id) references engine.budget on delete cascade,
    constraint budget_line_quantity_check check (quantity in ('cost', 'tokens', 'tool_calls', 'active_ms')),
    constraint budget_line_held_check check (held >= 0)
);

-- What is set aside: for one call, with the run and epoch that make it, or as a slab that a worker's runs draw on. Good as
-- long as the worker's lease.
create table engine.budget_hold (
    hold_id    uuid primary key,
    budget_id  uuid not null,
    quantity   text not null,
    tenant_id  uuid,
    worker_id  uuid not null,
    run_id     uuid,
    epoch      int,
    amount     bigint not null,
    created_at timestamptz not null default now(),
    constraint budget_hold_line_fkey foreign key (budget_id, quantity) references engine.budget_line on delete cascade,
    constraint budget_hold_run_check check ((run_id is null) = (epoch is null))
);
create index budget_hold_budget_idx on engine.budget_hold (budget_id);
create index budget_hold_worker_idx on engine.budget_hold (worker_id);

-- What calls have taken, written with the journal's record of them, and not yet added to the line. No foreign key: a budget
-- that is deleted meanwhile must not refuse the record, nor a locked one hold it up.
create table engine.budget_spending (
    n         bigint generated always as identity primary key,
    tenant_id uuid not null,
    budget_id uuid not null,
    quantity  text not null,
    hold_id   uuid not null,
    amount    bigint not null
);
create index budget_spending_budget_idx on engine.budget_spending (budget_id);

-- Runs that are short of something.
create table engine.budget_wait (
    run_id    uuid not null,
    budget_id uuid not null,
    quantity  text not null,
    tenant_id uuid not null,
    need      bigint not null,
    since_at  timestamptz not null default now(),
    constraint budget_wait_pkey primary key (run_id, budget_id, quantity)
);
create index budget_wait_budget_idx on engine.budget_wait (budget_id);

alter table engine.budget_spending set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

do $$
declare
    owned text;
begin
    foreach owned in array array['budget', 'budget_line', 'budget_hold', 'budget_spending', 'budget_wait'] loop
        execute format('alter table engine.%I enable row level security', owned);
        execute format('alter table engine.%I force row level security', owned);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on engine.%I to engine_system using (true)', owned);
    end loop;
end $$;
