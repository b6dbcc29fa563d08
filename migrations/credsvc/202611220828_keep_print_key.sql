-- The key that secrets are fingerprinted with, wrapped by this one: each later key of the tenant wraps the same. Older code
-- neither makes nor wraps one; whoever finds none makes it.
alter table credsvc.tenant_key add column print_key text;
