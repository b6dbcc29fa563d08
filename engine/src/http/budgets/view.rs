//! A budget on the wire.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared_models::{AgentId, BudgetId, RunId, UserId};
use utoipa::ToSchema;

use crate::budgets::{Changed, Level, Quantity};
use crate::definition::Budget;
use crate::store::budget::{LineRow, Row};

/// How much somebody or something may use up, and how much they have.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct BudgetView {
    pub(crate) budget_id: BudgetId,
    /// `platform`, `tenant`, `user`, `agent` or `run`.
    level: String,
    /// For the level `user`.
    user_id: Option<UserId>,
    /// For the level `agent`.
    agent_id: Option<AgentId>,
    /// For the level `run`.
    run_id: Option<RunId>,
    /// For the level `run`: the member of a swarm whose it is; none when it is the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// When it begins anew, in UTC: with the `day`, with the `month`, or never (`total`).
    period: String,
    /// Of the present period.
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    period_start: Option<DateTime<Utc>>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    period_end: Option<DateTime<Utc>>,
    /// What it limits; what it does not limit is not counted.
    #[serde(flatten)]
    pub(crate) limits: Budget,
    /// Each limit, and how far it is used up.
    lines: Vec<LineView>,
    /// Rises with each edit; the `ETag`.
    pub(crate) version: i32,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    updated_at: DateTime<Utc>,
}

/// A limit, and how far it is used up in the present period.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
struct LineView {
    /// `cost_micro_usd`, `tokens`, `tool_calls` or `active_seconds`.
    quantity: String,
    cap: i64,
    spent: i64,
    /// Set aside for calls under way.
    reserved: i64,
    /// Neither spent nor set aside; 0 at the least.
    remaining: i64,
    /// What was spent beyond what had been set aside for it: a provider counted more than was estimated, a call took longer, or
    /// the lease of its worker had ended before it did.
    overshoot: i64,
}

impl From<Row> for BudgetView {
    fn from(row: Row) -> Self {
        let limits = row.limits();
        let of = |level: &str| (row.level == level).then_some(row.subject);
        let lines = row.lines.0.iter().map(|line| LineView::new(line, row.stale));
        Self {
            budget_id: row.budget_id,
            user_id: of("user").map(Into::into),
            agent_id: of("agent").map(Into::into),
            run_id: row.run(),
            path: Some(row.path).filter(|path| !path.is_empty()),
            lines: lines.collect(),
            level: row.level,
            period: row.period,
            period_start: row.period_start,
            period_end: row.period_end,
            limits,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl LineView {
    fn new(line: &LineRow, stale: bool) -> Self {
        let quantity = line.quantity;
        let before = if stale { 0 } else { line.spent };
        let spent = before.saturating_add(line.pending);
        let reserved = (line.held - line.pending).max(0);
        let remaining = line.cap.saturating_sub(spent).saturating_sub(reserved).max(0);
        Self {
            quantity: quantity.wire().to_owned(),
            cap: quantity.shown(line.cap),
            spent: quantity.shown(spent),
            reserved: quantity.shown(reserved),
            remaining: if quantity == Quantity::ActiveMs { remaining / 1000 } else { remaining },
            overshoot: quantity.shown(if stale { 0 } else { line.overshoot }),
        }
    }
}

impl Row {
    /// The run whose own it is.
    pub(super) fn run(&self) -> Option<RunId> {
        (self.level == Level::Run.as_str()).then(|| self.subject.into())
    }

    /// What the run is told that has it.
    pub(super) fn changed(&self, by: UserId, at: DateTime<Utc>, after: &Budget) -> Changed {
        Changed {
            budget_id: self.budget_id,
            path: self.path.clone(),
            by,
            at,
            before: self.limits(),
            after: after.clone(),
        }
    }

    /// The limits as people set them.
    pub(crate) fn limits(&self) -> Budget {
        let cap = |quantity: Quantity| {
            let line = self.lines.0.iter().find(|line| line.quantity == quantity);
            line.map(|line| quantity.shown(line.cap))
        };
        Budget {
            max_cost_micro_usd: cap(Quantity::Cost),
            max_tokens: cap(Quantity::Tokens),
            max_tool_calls: cap(Quantity::ToolCalls),
            max_active_seconds: cap(Quantity::ActiveMs),
        }
    }
}
