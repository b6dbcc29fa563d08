//! What was used, by day, agent and model. The committers add what runs use; see `committer`.

use chrono::NaiveDate;
use dbutil::TenantTx;
use shared_models::{AgentId, MicroUsd, Usage};
use uuid::Uuid;

use crate::visibility::Viewer;

/// What one call adds. The numbers of a correction may be negative, so they are not those of [`Usage`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Added {
    pub(crate) calls: i64,
    pub(crate) unpriced: i64,
    pub(crate) usage: Usage,
    pub(crate) cost: MicroUsd,
}

/// Calls that no agent made are counted in rows beyond those of the committers.
const SLOTS: std::ops::Range<i16> = 64..128;

/// Counts a call that no run made.
pub(crate) async fn add(tx: &mut TenantTx, model: &str, added: &Added) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let tokens = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    sqlx::query!(
        "insert into engine.usage as u (tenant_id, day, agent_id, model, slot, calls, unpriced_calls, input_tokens,
             cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_micro_usd)
         values ($1, (now() at time zone 'utc')::date, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         on conflict (tenant_id, day, agent_id, model, slot) do update
         set calls = u.calls + excluded.calls, unpriced_calls = u.unpriced_calls + excluded.unpriced_calls,
             input_tokens = u.input_tokens + excluded.input_tokens,
             cache_read_tokens = u.cache_read_tokens + excluded.cache_read_tokens,
             cache_write_tokens = u.cache_write_tokens + excluded.cache_write_tokens,
             output_tokens = u.output_tokens + excluded.output_tokens,
             reasoning_tokens = u.reasoning_tokens + excluded.reasoning_tokens,
             cost_micro_usd = u.cost_micro_usd + excluded.cost_micro_usd",
        tenant as _,
        Uuid::nil(),
        model,
        rand::random_range(SLOTS),
        added.calls,
        added.unpriced,
        tokens(added.usage.input_tokens),
        tokens(added.usage.cache_read_tokens),
        tokens(added.usage.cache_write_tokens),
        tokens(added.usage.output_tokens),
        tokens(added.usage.reasoning_tokens),
        added.cost.0,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// By what a summary is broken down.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct By {
    pub(crate) day: bool,
    pub(crate) agent: bool,
    pub(crate) model: bool,
}

/// A line of a summary.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) day: Option<NaiveDate>,
    pub(crate) agent_id: Option<AgentId>,
    pub(crate) agent_name: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) calls: i64,
    pub(crate) unpriced_calls: i64,
    pub(crate) input_tokens: i64,
    pub(crate) cache_read_tokens: i64,
    pub(crate) cache_write_tokens: i64,
    pub(crate) output_tokens: i64,
    pub(crate) reasoning_tokens: i64,
    pub(crate) cost_micro_usd: i64,
}

/// What was used between two days, both included, by agents that the viewer may see. Calls that no agent made are the
/// administrators' to see.
pub(crate) async fn summary(
    tx: &mut TenantTx,
    viewer: &Viewer,
    (since, until): (Option<NaiveDate>, Option<NaiveDate>),
    agent: Option<AgentId>,
    by: By,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Row,
        r#"select case when $7::bool then u.day end as day,
                  nullif(case when $8::bool then u.agent_id end, '00000000-0000-0000-0000-000000000000') as "agent_id: AgentId",
                  case when $8::bool then max(a.name) end as agent_name,
                  case when $9::bool then u.model end as model,
                  sum(calls)::bigint as "calls!", sum(unpriced_calls)::bigint as "unpriced_calls!",
                  sum(input_tokens)::bigint as "input_tokens!", sum(cache_read_tokens)::bigint as "cache_read_tokens!",
                  sum(cache_write_tokens)::bigint as "cache_write_tokens!",
                  sum(output_tokens)::bigint as "output_tokens!", sum(reasoning_tokens)::bigint as "reasoning_tokens!",
                  sum(cost_micro_usd)::bigint as "cost_micro_usd!"
           from engine.usage u
           left join engine.agent a on a.agent_id = u.agent_id and a.tenant_id = u.tenant_id
           where u.tenant_id = $1
             and ($2::bool or a.owner_id = $3 or (a.scope = 'team' and a.team_id = any ($4)))
             and ($5::date is null or u.day >= $5) and ($6::date is null or u.day <= $6)
             and ($10::uuid is null or u.agent_id = $10)
           group by 1, case when $8::bool then u.agent_id end, 4
           order by 1 desc, 3, 4, 2
           limit 10000"#,
        tenant as _,
        viewer.admin,
        viewer.user_id(),
        &viewer.team_ids(),
        since,
        until,
        by.day,
        by.agent,
        by.model,
        agent as Option<AgentId>,
    )
    .fetch_all(&mut **tx)
    .await
}
