-- An endpoint that is told of runs is granted its signing secret, like an agent, a trigger or a model. Older code does not
-- grant to one.
alter table credsvc.credential_grant drop constraint credential_grant_kind_check;
alter table credsvc.credential_grant
    add constraint credential_grant_kind_check check (grantee_kind in ('agent', 'trigger', 'model', 'webhook'));
