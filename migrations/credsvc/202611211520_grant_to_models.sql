-- A model of a tenant may be granted a credential, like an agent or a trigger. Older code does not grant to one.
alter table credsvc.credential_grant drop constraint credential_grant_kind_check;
alter table credsvc.credential_grant
    add constraint credential_grant_kind_check check (grantee_kind in ('agent', 'trigger', 'model'));
