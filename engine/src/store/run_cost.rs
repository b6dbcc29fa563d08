//! What runs have used up.

use dbutil::TenantTx;
use serde_json::Value;
use shared_models::{AgentId, MicroUsd, RunId};

/// What one run of a tree has used up itself.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) run_id: RunId,
    pub(crate) parent_run_id: Option<RunId>,
    pub(crate) agent_id: AgentId,
    pub(crate) agent_name: String,
    pub(crate) usage: Value,
    /// None when one of its models has no price.
    pub(crate) cost: Option<MicroUsd>,
    /// Replies of models.
    pub(crate) steps: i32,
    pub(crate) tool_calls: i64,
}

/// More of a tree is not listed; what it has used up is summed up whole.
pub(crate) const MOST: i64 = 1000;

/// A run and all that work for it, the oldest first.
pub(crate) async fn tree(tx: &mut TenantTx, run: RunId) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Row,
        r#"with recursive below as (
               select run_id from engine.run where tenant_id = $1 and run_id = $2
               union all
               select r.run_id from engine.run r join below b on r.parent_run_id = b.run_id
               where r.tenant_id = $1)
           select r.run_id as "run_id: RunId", r.parent_run_id as "parent_run_id: RunId",
                  r.agent_id as "agent_id: AgentId", r.agent_name, r.usage, r.cost_micro_usd as "cost: MicroUsd", r.steps,
                  (select count(*) from engine.effect e
                   where e.tenant_id = $1 and e.run_id = r.run_id) as "tool_calls!"
           from below b join engine.run r on r.run_id = b.run_id
           order by r.created_at, r.run_id limit $3"#,
        tenant as _,
        run as _,
        MOST,
    )
    .fetch_all(&mut **tx)
    .await
}

/// What a whole tree has used up.
#[derive(Clone, Debug)]
pub(crate) struct Total {
    pub(crate) usage: Value,
    /// None when one of its models has no price.
    pub(crate) cost: Option<MicroUsd>,
    /// Replies of models.
    pub(crate) steps: i64,
    pub(crate) tool_calls: i64,
}

/// A run and all that work for it, together.
pub(crate) async fn total(tx: &mut TenantTx, run: RunId) -> Result<Total, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Total,
        r#"with recursive below as (
               select run_id from engine.run where tenant_id = $1 and run_id = $2
               union all
               select r.run_id from engine.run r join below b on r.parent_run_id = b.run_id
               where r.tenant_id = $1),
           buckets as (
               select u.key, sum(u.value::bigint)::bigint as tokens
               from below b join engine.run r on r.run_id = b.run_id cross join jsonb_each_text(r.usage) u
               group by u.key)
           select coalesce((select jsonb_object_agg(k.key, k.tokens) from buckets k), '{}') as "usage!",
                  case when bool_and(r.cost_micro_usd is not null) then sum(r.cost_micro_usd)::bigint end as "cost: MicroUsd",
                  coalesce(sum(r.steps), 0) as "steps!",
                  (select count(*) from engine.effect e
                   where e.tenant_id = $1 and e.run_id in (select run_id from below)) as "tool_calls!"
           from below b join engine.run r on r.run_id = b.run_id"#,
        tenant as _,
        run as _,
    )
    .fetch_one(&mut **tx)
    .await
}
