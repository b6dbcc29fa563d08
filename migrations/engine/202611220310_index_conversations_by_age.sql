-- no-transaction
-- Conversations of each tenant, the quietest first. Older code does not notice.
create index concurrently conversation_tenant_age_idx on engine.conversation (tenant_id, updated_at);
