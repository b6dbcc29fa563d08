-- Runs that begin with what others had come to. Older code makes none, and runs that it makes are live, as the default
-- says; it must not carry out a dry one, so it is stopped before the first fork is made.

-- Dry: models are asked, calls of tools are answered from another run's journal.
alter table engine.run
    add column mode text not null default 'live',
    -- When the newest fork of the tree was made. Set in the fork's own transaction, so that whoever is about to forget the
    -- tree's content finds the row changed.
    add column forked_at timestamptz,
    add constraint run_mode_check check (mode in ('live', 'dry'));

alter table engine.run_link
    -- The last record of the other run that stands.
    add column from_seq bigint,
    drop constraint run_link_kind_check,
    add constraint run_link_kind_check check (kind in ('retry', 'fork'));

-- Trees whose content a fork refers to: it stays as long as the fork has content itself.
create table engine.content_hold (
    root_run_id    uuid not null,
    of_root_run_id uuid not null,
    tenant_id      uuid not null,
    constraint content_hold_pkey primary key (root_run_id, of_root_run_id),
    constraint content_hold_run_fkey foreign key (root_run_id) references engine.run (run_id) on delete cascade
);
create index content_hold_of_idx on engine.content_hold (of_root_run_id);

alter table engine.content_hold enable row level security;
alter table engine.content_hold force row level security;
create policy tenant on engine.content_hold to engine_app
    using (tenant_id = any ((select current_setting('app.tenants'))::uuid[]));
create policy system on engine.content_hold to engine_system using (true);
-- A hold that goes with its run is deleted by the owner.
create policy owner on engine.content_hold to engine_owner using (true);
