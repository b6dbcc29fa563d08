//! What was used, by day, person, agent and model. The committers add what runs use; see `committer`.

use chrono::NaiveDate;
use dbutil::TenantTx;
use shared_models::{AgentId, MicroUsd, Usage, UserId};
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

/// Whose call it was that no run made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    pub(crate) user: Option<UserId>,
    pub(crate) model: &'a str,
}

/// Counts a call that no run made.
pub(crate) async fn add(
    tx: &mut TenantTx,
    whose: &Whose<'_>,
    added: &Added,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let tokens = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    sqlx::query!(
        "insert into engine.user_usage as u (tenant_id, day, agent_id, model, slot, calls, unpriced_calls, input_tokens,
             cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_micro_usd, user_id)
         values ($1, (now() at time zone 'utc')::date, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (tenant_id, day, user_id, agent_id, model, slot) do update
         set calls = u.calls + excluded.calls, unpriced_calls = u.unpriced_calls + excluded.unpriced_calls,
             input_tokens = u.input_tokens + excluded.input_tokens,
             cache_read_tokens = u.cache_read_tokens + excluded.cache_read_tokens,
             cache_write_tokens = u.cache_write_tokens + excluded.cache_write_tokens,
             output_tokens = u.output_tokens + excluded.output_tokens,
             reasoning_tokens = u.reasoning_tokens + excluded.reasoning_tokens,
             cost_micro_usd = u.cost_micro_usd + excluded.cost_micro_usd",
        tenant as _,
        Uuid::nil(),
        whose.model,
        rand::random_range(SLOTS),
        added.calls,
        added.unpriced,
        tokens(added.usage.input_tokens),
        tokens(added.usage.cache_read_tokens),
        tokens(added.usage.cache_write_tokens),
        tokens(added.usage.output_tokens),
        tokens(added.usage.reasoning_tokens),
        added.cost.0,
        whose.user.map_or_else(Uuid::nil, UserId::uuid),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// By what a summary is broken down.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct By {
    pub(crate) day: bool,
    pub(crate) user: bool,
    pub(crate) agent: bool,
    pub(crate) model: bool,
}

/// A line of a summary.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) day: Option<NaiveDate>,
    pub(crate) user_id: Option<UserId>,
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

/// Of what a summary is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Of {
    /// The first day and the last one.
    pub(crate) since: Option<NaiveDate>,
    pub(crate) until: Option<NaiveDate>,
    pub(crate) user: Option<UserId>,
    pub(crate) agent: Option<AgentId>,
}

/// What was used by agents that the viewer may see. Calls that no agent made are seen by who made them, and by administrators.
pub(crate) async fn summary(
    tx: &mut TenantTx,
    viewer: &Viewer,
    of: Of,
    by: By,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_file_as!(
        Row,
        "src/store/usage_summary.sql",
        tenant as _,
        viewer.admin,
        viewer.user_id(),
        &viewer.team_ids(),
        of.since,
        of.until,
        by.day,
        by.agent,
        by.model,
        of.agent as Option<AgentId>,
        by.user,
        of.user as Option<UserId>,
    )
    .fetch_all(&mut **tx)
    .await
}
