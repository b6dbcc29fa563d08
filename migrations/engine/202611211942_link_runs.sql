-- Which run is another one's retry. Older code makes none.
create table engine.run_link (
    run_id     uuid primary key,
    tenant_id  uuid not null,
    of_run_id  uuid not null,
    kind       text not null,
    created_at timestamptz not null default now(),
    constraint run_link_run_fkey foreign key (run_id) references engine.run (run_id) on delete cascade,
    constraint run_link_kind_check check (kind in ('retry'))
);
create index run_link_of_idx on engine.run_link (of_run_id);

alter table engine.run_link enable row level security;
alter table engine.run_link force row level security;
create policy tenant on engine.run_link to engine_app
    using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.run_link to engine_system using (true);
-- A link that goes with its run is deleted by the owner.
create policy owner on engine.run_link to engine_owner using (true);
