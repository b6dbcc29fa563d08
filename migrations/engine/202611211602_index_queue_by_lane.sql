-- no-transaction
-- The queue by lane: each agent with a limit of its own has one, all others of a tenant share one, so that what one
-- agent's limit holds back stands in nobody else's way. Claims of older code use its first column.
create index concurrently run_lane_idx on engine.run (
    tenant_id,
    (case when agent_concurrency is null then '00000000-0000-0000-0000-000000000000'::uuid else agent_id end),
    queued_at, run_id)
where status = 'queued';
