//! A run on the wire.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use shared_models::{
    AgentId, ConversationId, EvaluationId, EventId, MicroUsd, RunId, RunMode, RunOrigin, RunStatus,
    SwarmId, TriggerId, Usage, UserId, WaitReason,
};
use utoipa::ToSchema;

use crate::http::budgets::BudgetView;
use crate::store::{auth_wait::AuthWait, budget::ShortOf, effect::Doubt, run};

/// One durable execution of an agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RunView {
    run_id: RunId,
    root_run_id: RunId,
    agent_id: AgentId,
    agent_name: String,
    agent_version: i32,
    /// For a run of a swarm; the agent is then the member that begins.
    swarm_id: Option<SwarmId>,
    swarm_name: Option<String>,
    swarm_version: Option<i32>,
    pub(crate) status: RunStatus,
    /// What a dry run has done has not happened: its tools answered from another run's journal.
    pub(crate) mode: RunMode,
    origin: RunOrigin,
    /// What a waiting run waits for.
    pub(crate) wait_reason: Option<WaitReason>,
    /// Credentials that somebody has to connect again before the run goes on, or those members of its swarm that need them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) waits_for: Vec<AuthWait>,
    /// The budgets that it waits for, and how much is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) short_of: Vec<ShortOf>,
    /// What it may use up itself, with all that work for it, and has; none when it has no budget of its own, or has not begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<BudgetView>,
    /// Who started it by hand.
    initiator_id: Option<UserId>,
    trigger_id: Option<TriggerId>,
    event_id: Option<EventId>,
    attempt: i32,
    /// The conversation it is a part of.
    conversation_id: Option<ConversationId>,
    /// The evaluation that it tries the agent for, or judges for.
    evaluation_id: Option<EvaluationId>,
    /// The person it was held with, as the caller names them.
    end_user_id: Option<String>,
    /// The last thing the model said, once the run has ended, or waits for a budget.
    output: Option<String>,
    /// The output as JSON, when the agent's output has a schema and fits it.
    #[schema(value_type = Option<Object>)]
    parsed: Option<Value>,
    /// Whether output and error are withheld, because the caller may not see content.
    redacted: bool,
    finish_reason: Option<String>,
    error: Option<RunError>,
    usage: Usage,
    /// What the model calls cost so far; null when one of the models has no price.
    cost_micro_usd: Option<MicroUsd>,
    /// Replies of the model so far.
    steps: i32,
    /// Calls of which nobody here knows whether they happened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    in_doubt: Vec<Doubt>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    deadline_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    started_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    finished_at: Option<DateTime<Utc>>,
    /// When what was said in it was forgotten.
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    content_pruned_at: Option<DateTime<Utc>>,
}

/// Why a run failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RunError {
    code: String,
    message: String,
}

impl RunView {
    /// A run of a swarm works on while some of its members wait.
    pub(crate) fn may_wait_for_credentials(&self) -> bool {
        let works_on = self.swarm_id.is_some() && self.status == RunStatus::Running;
        works_on || self.wait_reason == Some(WaitReason::Auth)
    }

    /// `payloads` says whether the viewer may see content.
    pub(crate) fn new(row: run::Row, payloads: bool) -> Self {
        let (status, mode, origin) = (row.status(), row.mode(), row.origin());
        let error = row.error_code.map(|code| {
            let message = if payloads { row.error.unwrap_or_default() } else { String::new() };
            RunError { code, message }
        });
        // A reason quotes what the other side said.
        let reason = |doubt: Doubt| doubt.reason.filter(|_| payloads);
        let doubts = row.in_doubt.0.into_iter();
        let output = row.output.filter(|_| payloads);
        let fits = row.structured && row.finish_reason.as_deref() == Some("stop");
        Self {
            run_id: row.run_id,
            root_run_id: row.root_run_id,
            agent_id: row.agent_id,
            agent_name: row.agent_name,
            agent_version: row.agent_version,
            swarm_id: row.swarm_id,
            swarm_name: row.swarm_name,
            swarm_version: row.swarm_version,
            status,
            mode,
            origin,
            wait_reason: row.wait_reason.and_then(|reason| reason.parse().ok()),
            waits_for: Vec::new(),
            short_of: Vec::new(),
            budget: None,
            initiator_id: row.initiator_id,
            trigger_id: row.trigger_id,
            event_id: row.event_id,
            attempt: row.attempt,
            conversation_id: row.conversation_id,
            evaluation_id: row.evaluation_id,
            end_user_id: row.end_user_id,
            redacted: !payloads,
            parsed: output.as_deref().filter(|_| fits).and_then(agentcore::output_json),
            output,
            finish_reason: row.finish_reason,
            error,
            usage: serde_json::from_value(row.usage).unwrap_or_default(),
            cost_micro_usd: row.cost_micro_usd.map(MicroUsd),
            steps: row.steps,
            in_doubt: doubts
                .map(|doubt| Doubt { reason: reason(doubt.clone()), ..doubt }.apart())
                .collect(),
            deadline_at: row.deadline_at,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            content_pruned_at: row.content_pruned_at,
        }
    }
}
