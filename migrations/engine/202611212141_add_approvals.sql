-- Runs that people stop for a while, and calls that people are asked about before they are made. Older code does neither.

-- When a run was stopped for people: the clock of its deadline stands still until a worker takes it again.
alter table engine.run add column held_at timestamptz;

-- One call, as it would be made. `asked` and `arguments` are `json`, not `jsonb`: they keep a NUL that a model has written.
create table engine.approval (
    approval_id uuid primary key,
    tenant_id   uuid not null,
    run_id      uuid not null,
    agent_id    uuid not null,
    call_key    text not null,
    tool_name   text not null,
    -- What a decision is bound to beside the arguments.
    subject     jsonb not null,
    -- What the model wrote, and what would be sent.
    asked       json,
    arguments   json,
    parameters  jsonb not null,
    -- SHA-256 of the subject and the arguments, and of the subject without the call: what "for the rest of the run" means.
    binding     bytea not null,
    scope       bytea not null,
    -- Rises when the arguments are edited: earlier votes are void.
    revision    int not null default 1,
    rules       jsonb not null,
    policy      jsonb not null,
    -- Whom the policy names, for the inbox.
    voters      uuid[] not null,
    voter_rank  int,
    status      text not null default 'open',
    sticky      boolean not null default false,
    reason      text,
    created_at  timestamptz not null default now(),
    expires_at  timestamptz not null,
    decided_at  timestamptz,
    constraint approval_run_fkey foreign key (run_id) references engine.run (run_id) on delete cascade,
    constraint approval_status_check check (status in ('open', 'approved', 'rejected', 'expired', 'withdrawn')),
    constraint approval_decided_check check ((status = 'open') = (decided_at is null))
);
create index approval_page_idx on engine.approval (tenant_id, created_at desc, approval_id desc);
create index approval_run_idx on engine.approval (run_id);
create index approval_open_idx on engine.approval (expires_at) where status = 'open';

-- Who said what about which arguments, and when: written once, never changed.
create table engine.approval_vote (
    approval_id uuid not null,
    n           bigint generated always as identity,
    tenant_id   uuid not null,
    user_id     uuid not null,
    -- The API key by which they said it.
    key_id      uuid,
    kind        text not null,
    revision    int not null,
    binding     bytea not null,
    sticky      boolean not null,
    comment     text,
    at          timestamptz not null default now(),
    constraint approval_vote_pkey primary key (approval_id, n),
    constraint approval_vote_approval_fkey foreign key (approval_id)
        references engine.approval (approval_id) on delete cascade,
    constraint approval_vote_kind_check check (kind in ('approve', 'edit', 'reject'))
);
revoke update, delete on engine.approval_vote from engine_app;

do $$
declare
    owned text;
begin
    foreach owned in array array['approval', 'approval_vote'] loop
        execute format('alter table engine.%I enable row level security', owned);
        execute format('alter table engine.%I force row level security', owned);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', owned);
        execute format('create policy system on engine.%I to engine_system using (true)', owned);
        -- What goes with its run is deleted by the owner.
        execute format('create policy owner on engine.%I to engine_owner using (true)', owned);
    end loop;
end $$;
