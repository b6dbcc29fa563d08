-- Runs that wait until somebody connects a credential again, and which credential. A row is written right before its run
-- is put to rest and goes when the run is woken; older code leaves such runs failed and reads nothing here.

create table engine.auth_wait (
    tenant_id     uuid not null,
    run_id        uuid not null,
    credential_id uuid not null,
    -- In words for a person.
    reason        text not null,
    since_at      timestamptz not null default now(),
    -- When a sweep last asked how the credential is.
    looked_at     timestamptz not null default now(),
    constraint auth_wait_pkey primary key (run_id, credential_id),
    constraint auth_wait_run_fkey foreign key (run_id) references engine.run (run_id) on delete cascade
);
create index auth_wait_credential_idx on engine.auth_wait (tenant_id, credential_id);
create index auth_wait_look_idx on engine.auth_wait (looked_at);

alter table engine.auth_wait enable row level security;
alter table engine.auth_wait force row level security;
create policy tenant on engine.auth_wait to engine_app using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.auth_wait to engine_system using (true);
-- A row that goes with its run is deleted by the owner.
create policy owner on engine.auth_wait to engine_owner using (true);
