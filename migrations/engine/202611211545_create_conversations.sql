-- Conversations: runs of one agent that follow each other and remember. Older code never sets the new columns.

create table engine.conversation (
    conversation_id uuid primary key,
    tenant_id       uuid not null,
    agent_id        uuid not null,
    -- Whose the agent was when it began: decides who may see it, even after the agent is gone.
    agent_scope     text not null,
    agent_owner_id  uuid not null,
    team_id         uuid,
    created_by      uuid not null,
    -- The person it is held with, as the caller names them.
    end_user_id     text,
    title           text,
    -- How many runs it has had, and how many messages it remembers.
    turns           bigint not null default 0,
    messages        bigint not null default 0,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    constraint conversation_scope_known check (agent_scope in ('user', 'team'))
);
create index conversation_page_idx on engine.conversation (tenant_id, created_at desc, conversation_id desc);

-- What a conversation remembers: the messages of its ended runs, in order. Only ever appended to, so "the first n" is
-- the same for ever.
create table engine.conversation_message (
    conversation_id uuid not null references engine.conversation on delete cascade,
    n               bigint not null,
    tenant_id       uuid not null,
    run_id          uuid not null,
    -- A message as JSON text.
    body            bytea not null,
    at              timestamptz not null default now(),
    constraint conversation_message_pkey primary key (conversation_id, n)
);

alter table engine.run
    add column conversation_id   uuid,
    -- Its place in the conversation.
    add column conversation_turn bigint,
    add column end_user_id       text,
    -- Its messages have gone into the conversation, or never will.
    add column remembered        boolean not null default false,
    -- Somebody spoke over it and wants it forgotten.
    add column rolled_back       boolean not null default false;
create index run_conversation_idx on engine.run (conversation_id, conversation_turn) where conversation_id is not null;
create index run_turn_idx on engine.run (conversation_id) where wait_reason = 'turn';

alter table engine.run drop constraint run_wait_reason_check;
alter table engine.run add constraint run_wait_reason_check check (wait_reason in (
    'approval', 'input', 'child', 'timer', 'auth', 'budget', 'callback', 'doubt', 'turn'));

do $$
declare
    tbl text;
begin
    foreach tbl in array array['conversation', 'conversation_message'] loop
        execute format('alter table engine.%I enable row level security', tbl);
        execute format('alter table engine.%I force row level security', tbl);
        execute format('create policy tenant on engine.%I to engine_app using '
            || '(tenant_id = any ((select current_setting(''app.tenants''))::uuid[]))', tbl);
        execute format('create policy system on engine.%I to engine_system using (true)', tbl);
    end loop;
end $$;
