//! Which budgets a run draws on.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use dbutil::Db;
use serde::{Deserialize, Serialize};
use shared_models::{AgentId, BudgetId, RunId, TenantId, UserId};
use uuid::Uuid;

pub(crate) use shared_models::{
    BudgetLevel as Level, BudgetPeriod as Period, BudgetQuantity as Quantity,
};

use super::Key;
use crate::definition::Budget;
use crate::store::budget;

impl Budget {
    /// The limits, in the database's units.
    pub(crate) fn lines(&self) -> Vec<(Quantity, i64)> {
        let all = [
            (Quantity::Cost, self.max_cost_micro_usd),
            (Quantity::Tokens, self.max_tokens),
            (Quantity::ToolCalls, self.max_tool_calls),
            (Quantity::ActiveMs, self.max_active_seconds.map(|n| n.saturating_mul(1000))),
        ];
        all.into_iter().filter_map(|(quantity, cap)| Some((quantity, cap?))).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The tighter of two limits, each for itself.
    pub(crate) fn tighter(&self, other: &Self) -> Self {
        let least = |one: Option<i64>, other: Option<i64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            max_cost_micro_usd: least(self.max_cost_micro_usd, other.max_cost_micro_usd),
            max_tokens: least(self.max_tokens, other.max_tokens),
            max_tool_calls: least(self.max_tool_calls, other.max_tool_calls),
            max_active_seconds: least(self.max_active_seconds, other.max_active_seconds),
        }
    }
}

/// The budget of a run itself, which is made when the run, or one that works for it, first draws on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunCap {
    pub(crate) run: RunId,
    /// The member of a swarm whose agent's budget it is; empty for the run's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    pub(crate) budget: Budget,
}

impl RunCap {
    pub(crate) fn id(&self) -> BudgetId {
        run_budget(self.run, &self.path)
    }
}

/// The budget of a run, or of a member of a swarm in it: always the same, so that nobody has to look for it.
pub(crate) fn run_budget(run: RunId, path: &str) -> BudgetId {
    Uuid::new_v5(&run.uuid(), format!("budget {path}").as_bytes()).into()
}

/// That somebody has changed the budget of a run, or of a member in it: as the run is told, and as its journal says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) budget_id: BudgetId,
    /// The member's, in a run of a swarm.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    pub(crate) by: UserId,
    /// The record itself is written once the run is driven again.
    #[serde(rename = "changed_at")]
    pub(crate) at: DateTime<Utc>,
    pub(crate) before: Budget,
    pub(crate) after: Budget,
}

/// A budget that may concern a run.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) level: Level,
    pub(crate) subject: Uuid,
    pub(crate) key: Key,
}

/// The budgets of a tenant and of the platform, as they were a moment ago.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    read: Instant,
    all: Vec<Account>,
}

/// How long a new budget may go unnoticed by other processes than the one it was made through.
const LIFE: Duration = Duration::from_secs(2);

impl Accounts {
    pub(super) async fn read(db: &Db, tenant: TenantId) -> Result<Self, sqlx::Error> {
        let read = Instant::now();
        Ok(Self { read, all: budget::accounts(db, tenant).await? })
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.read.elapsed() < LIFE
    }

    /// The lines that a call of this agent draws on, for this person, besides those of the run and the runs above it. A call
    /// that no agent makes, or nobody, draws on none of theirs.
    pub(crate) fn of(
        &self,
        user: Option<UserId>,
        agent: Option<AgentId>,
    ) -> impl Iterator<Item = Key> + '_ {
        let (user, agent) = (user.map(UserId::uuid), agent.map(AgentId::uuid));
        let concerns = move |account: &&Account| match account.level {
            Level::Platform | Level::Tenant => true,
            Level::User => Some(account.subject) == user,
            Level::Agent => Some(account.subject) == agent,
            Level::Run => false,
        };
        self.all.iter().filter(concerns).map(|account| account.key)
    }
}
