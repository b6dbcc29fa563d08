-- no-transaction
-- What agents of each tenant were told to remember, the oldest first. Older code forgets none of it.
create index concurrently agent_memory_age_idx on engine.agent_memory (tenant_id, updated_at);
