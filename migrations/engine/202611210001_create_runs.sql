-- Runs: the queue and its lease, the journal, what was said, what was done to the world.
-- First migration: no older code sees it.

-- A process that owns runs. Its runs are safe from others while the lease lasts.
create table engine.worker (
    worker_id   uuid primary key,
    lease_until timestamptz not null,
    started_at  timestamptz not null default now()
);

-- One durable execution of an agent. `epoch` rises with each claim and `next_seq` with each record: a write that
-- states older ones changes nothing.
create table engine.run (
    run_id            uuid primary key,
    tenant_id         uuid not null,
    root_run_id       uuid not null,
    parent_run_id     uuid,
    agent_id          uuid not null,
    agent_version     int not null,
    agent_name        text not null,
    -- Whose it was when it began: decides who may see the run, even after the agent is gone.
    agent_scope       text not null,
    agent_owner_id    uuid not null,
    team_id           uuid,
    -- In whose name it acts, and who started it by hand.
    principal_id      uuid not null,
    initiator_id      uuid,
    trigger_id        uuid,
    event_id          uuid,
    attempt           int not null default 0,
    status            text not null default 'queued',
    wait_reason       text,
    worker_id         uuid,
    epoch             int not null default 0,
    next_seq          bigint not null,
    -- Claims since the journal last moved on.
    claims            int not null default 0,
    record_version    smallint not null default 1,
    -- W3C trace context of what started it: the run is part of that trace, whenever and wherever it goes on.
    traceparent       text,
    -- How many runs of the agent may be under way at once, as it was at the start.
    agent_concurrency int,
    deadline_at       timestamptz not null,
    output            text,
    finish_reason     text,
    error_code        text,
    error             text,
    usage             jsonb not null default '{}',
    cost_micro_usd    bigint not null default 0,
    steps             int not null default 0,
    created_at        timestamptz not null default now(),
    queued_at         timestamptz not null default now(),
    started_at        timestamptz,
    finished_at       timestamptz,
    constraint run_firing_key unique (tenant_id, trigger_id, event_id, attempt),
    constraint run_status_check check (status in (
        'queued', 'running', 'waiting', 'paused', 'succeeded', 'failed', 'cancelled', 'timed_out')),
    constraint run_wait_reason_check check (wait_reason in (
        'approval', 'input', 'child', 'timer', 'auth', 'budget', 'callback', 'doubt')),
    constraint run_waiting_check check ((status = 'waiting') = (wait_reason is not null)),
    constraint run_owned_check check ((status = 'running') = (worker_id is not null)),
    constraint run_agent_scope_check check (agent_scope in ('user', 'team'))
) with (fillfactor = 50);
create index run_queued_idx on engine.run (tenant_id, queued_at, run_id) where status = 'queued';
create index run_running_idx on engine.run (tenant_id, agent_id) where status = 'running';
create index run_page_idx on engine.run (tenant_id, created_at desc, run_id desc);
create index run_agent_idx on engine.run (agent_id, created_at desc);

-- What the run was started with; edits of the agent do not reach it.
create table engine.run_snapshot (
    run_id    uuid primary key,
    tenant_id uuid not null,
    snapshot  jsonb not null
);

-- What happened, in order. `data` is `json`, not `jsonb`: it keeps a NUL that a model or a tool has said.
create table engine.journal (
    run_id    uuid not null,
    seq       bigint not null,
    tenant_id uuid not null,
    epoch     int not null,
    path      text not null default '',
    kind      text not null,
    v         smallint not null,
    data      json not null,
    at        timestamptz not null default now(),
    constraint journal_pkey primary key (run_id, seq)
);

-- What was said, each thing once per tree of runs: a message as JSON text.
create table engine.content (
    root_run_id uuid not null,
    hash        bytea not null,
    tenant_id   uuid not null,
    body        bytea not null,
    created_at  timestamptz not null default now(),
    constraint content_pkey primary key (root_run_id, hash)
);

-- One call to the outside world: written before the bytes go out.
create table engine.effect (
    run_id          uuid not null,
    call_id         text not null,
    tenant_id       uuid not null,
    tool_name       text not null,
    class           text not null,
    idempotency_key uuid not null,
    timeout_ms      bigint not null,
    state           text not null,
    reason          text,
    intended_at     timestamptz not null default now(),
    sent_at         timestamptz,
    ended_at        timestamptz,
    answered_by     uuid,
    constraint effect_pkey primary key (run_id, call_id),
    constraint effect_class_check check (class in ('read', 'idempotent', 'keyed', 'unsafe')),
    constraint effect_state_check check (state in (
        'intended', 'sent', 'done', 'failed', 'in_doubt', 'answered'))
);
create index effect_in_doubt_idx on engine.effect (run_id) where state = 'in_doubt';

-- What people and other services want of a run: written by any process, drained into the journal by its owner.
create table engine.run_signal (
    run_id     uuid not null,
    n          bigint generated always as identity,
    tenant_id  uuid not null,
    -- `jsonb` takes no NUL: what claims look into must be readable, whoever wrote it.
    signal     jsonb not null,
    created_at timestamptz not null default now(),
    drained_at timestamptz,
    constraint run_signal_pkey primary key (run_id, n)
);
create index run_signal_open_idx on engine.run_signal (run_id) where drained_at is null;

-- When a run wants to be woken.
create table engine.run_timer (
    run_id    uuid not null,
    name      text not null,
    tenant_id uuid not null,
    due_at    timestamptz not null,
    constraint run_timer_pkey primary key (run_id, name)
);
create index run_timer_due_idx on engine.run_timer (due_at);

-- Rows come and go at the rate of runs: vacuum by count, not by share.
alter table engine.run set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
alter table engine.run_signal set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
alter table engine.run_timer set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

do $$
declare
    owned text;
begin
    foreach owned in array array[
        'run', 'run_snapshot', 'journal', 'content', 'effect', 'run_signal', 'run_timer'] loop
        execute format('alter table engine.%I enable row level security', owned);
        execute format('alter table engine.%I force row level security', owned);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on engine.%I to engine_system using (true)', owned);
    end loop;
end $$;
