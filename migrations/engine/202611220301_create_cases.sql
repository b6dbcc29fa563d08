-- Test cases of agents, and evaluations: all cases of an agent, run against one of its versions. Older code knows nothing of
-- them. `json`, not `jsonb`, where a run's words are kept: they may hold a NUL that a tool has said.

create table engine.agent_case (
    case_id       uuid primary key,
    tenant_id     uuid not null,
    agent_id      uuid not null,
    name          text not null,
    -- Input, expectations, and what tools are answered with.
    definition    json not null,
    -- The run it was kept from; that may be forgotten by now.
    source_run_id uuid,
    version       int not null default 1,
    created_by    uuid not null,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint agent_case_agent_fkey foreign key (agent_id) references engine.agent (agent_id) on delete cascade,
    constraint agent_case_name_key unique (agent_id, name)
);
create index agent_case_page_idx on engine.agent_case (tenant_id, agent_id, created_at desc, case_id desc);

create table engine.evaluation (
    evaluation_id    uuid primary key,
    tenant_id        uuid not null,
    agent_id         uuid not null,
    agent_name       text not null,
    agent_version    int not null,
    mode             text not null,
    concurrency      int not null,
    deadline_seconds int not null,
    initiator_id     uuid not null,
    status           text not null default 'running',
    created_at       timestamptz not null default now(),
    finished_at      timestamptz,
    -- What was said about its runs has been forgotten.
    silent           boolean not null default false,
    constraint evaluation_status_check check (status in ('running', 'finished', 'cancelled')),
    constraint evaluation_mode_check check (mode in ('as_saved', 'recorded', 'live')),
    constraint evaluation_finished_check check ((status = 'running') = (finished_at is null))
);
create index evaluation_page_idx on engine.evaluation (tenant_id, agent_id, created_at desc, evaluation_id desc);
create index evaluation_running_idx on engine.evaluation (created_at) where status = 'running';
create index evaluation_finished_idx on engine.evaluation (tenant_id, finished_at) where finished_at is not null;

-- One case of an evaluation, as it was when the evaluation was asked for.
create table engine.evaluation_result (
    evaluation_id uuid not null,
    n             int not null,
    tenant_id     uuid not null,
    case_id       uuid not null,
    case_name     text not null,
    -- Null once its run exists, which then knows all of it.
    definition    json,
    expectations  json not null,
    state         text not null default 'pending',
    run_id        uuid,
    -- Runs of models that judge: which expectation, which run.
    judges        json,
    -- What became of each expectation, and in words why: the words are content.
    verdicts      json,
    details       json,
    error         text,
    ended_at      timestamptz,
    constraint evaluation_result_pkey primary key (evaluation_id, n),
    constraint evaluation_result_evaluation_fkey foreign key (evaluation_id)
        references engine.evaluation (evaluation_id) on delete cascade,
    constraint evaluation_result_state_check
        check (state in ('pending', 'running', 'judging', 'passed', 'failed', 'error'))
);

-- The evaluation that a run belongs to, whether it tries the agent or judges it.
alter table engine.run add column evaluation_id uuid;

do $$
declare
    owned text;
begin
    foreach owned in array array['agent_case', 'evaluation', 'evaluation_result'] loop
        execute format('alter table engine.%I enable row level security', owned);
        execute format('alter table engine.%I force row level security', owned);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on engine.%I to engine_system using (true)', owned);
        -- What goes with its agent or evaluation is deleted by the owner.
        execute format('create policy owner on engine.%I to engine_owner using (true)', owned);
    end loop;
end $$;
