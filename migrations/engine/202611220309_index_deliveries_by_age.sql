-- no-transaction
-- What endpoints of each tenant were told, the oldest first. Older code does not notice.
create index concurrently webhook_delivery_tenant_age_idx on engine.webhook_delivery (tenant_id, created_at)
where status <> 'pending';
