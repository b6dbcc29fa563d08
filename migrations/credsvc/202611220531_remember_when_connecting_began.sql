-- Who left: what they had begun before goes with them, and what they begin after coming back does not. And their providers
-- are told, however long those are away.
-- Older code neither writes nor reads these columns: what it connects counts from when its row was made.

alter table credsvc.credential
    -- When connecting it was begun that made or renewed it; null: never, or by older code.
    add column begun_at    timestamptz,
    -- When its provider is to be told that its owner has left; null: there is nothing to tell.
    add column tell_due_at timestamptz,
    add column tell_tries  int not null default 0;
create index credential_tell_idx on credsvc.credential (tell_due_at) where tell_due_at is not null;
