-- Calls that go on elsewhere and whose answer is brought by the other side. Older code makes none.
create table engine.callback (
    run_id      uuid not null,
    call_key    text not null,
    tenant_id   uuid not null,
    -- SHA-256 of what the other side shows.
    token_hash  bytea not null,
    expires_at  timestamptz not null,
    answered_at timestamptz,
    -- Nobody called back in time, and the run has been told.
    expired_at  timestamptz,
    failed      boolean not null default false,
    result      text,
    created_at  timestamptz not null default now(),
    constraint callback_pkey primary key (run_id, call_key),
    constraint callback_token_key unique (token_hash),
    constraint callback_run_fkey foreign key (run_id) references engine.run (run_id) on delete cascade
);
create index callback_open_idx on engine.callback (expires_at) where answered_at is null and expired_at is null;

alter table engine.callback enable row level security;
alter table engine.callback force row level security;
create policy tenant on engine.callback to engine_app
    using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.callback to engine_system using (true);
-- What goes with its run is deleted by the owner.
create policy owner on engine.callback to engine_owner using (true);
