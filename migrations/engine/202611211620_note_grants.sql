-- Which credentials agents were granted, so that a grant whose last use is gone can be taken back. Grants made by older
-- code are not in it and end with their agent, as before.

create table engine.agent_grant (
    agent_id      uuid not null,
    credential_id uuid not null,
    tenant_id     uuid not null,
    -- The credential as it is written in definitions and snapshots.
    credential    text not null,
    -- Somebody began to use it then, and is done with that soon after.
    asked_at      timestamptz not null default now(),
    checked_at    timestamptz not null default now(),
    -- It is being taken back: nobody may ask for it anew before that is done.
    taken_back    boolean not null default false,
    constraint agent_grant_pkey primary key (agent_id, credential_id)
);
create index agent_grant_check_idx on engine.agent_grant (taken_back desc, checked_at);

alter table engine.agent_grant enable row level security;
alter table engine.agent_grant force row level security;
create policy tenant on engine.agent_grant to engine_app using
    (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.agent_grant to engine_system using (true);
