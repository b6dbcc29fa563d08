-- `revoke_client` is no setting any more: the client's id and secret go where they go with every question. A client that
-- was saved with it could not be read. Older code takes its absence for `false`.

create policy owner on credsvc.provider_config to credsvc_owner using (true);
update credsvc.provider_config set settings = settings - 'revoke_client' where settings ? 'revoke_client';
drop policy owner on credsvc.provider_config;
