//! An approval on the wire.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::Caller;
use shared_models::{AgentId, ApiKeyId, ApprovalId, RunId, UserId, wire_time};
use utoipa::ToSchema;

use crate::approvals::Policy;
use crate::call_key;
use crate::store::approval::{Row, Vote};

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ApprovalStatus {
    /// People are asked.
    Open,
    /// The call is made.
    Approved,
    /// Somebody does not want it: the model is told so.
    Rejected,
    /// Nobody has decided in time: it is refused.
    Expired,
    /// The run has ended before.
    Withdrawn,
}

impl ApprovalStatus {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }

    fn read(text: &str) -> Self {
        match text {
            "open" => Self::Open,
            "approved" => Self::Approved,
            "rejected" => Self::Rejected,
            "expired" => Self::Expired,
            _ => Self::Withdrawn,
        }
    }
}

/// A call that people are asked about before it is made.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(super) struct Approval {
    approval_id: ApprovalId,
    run_id: RunId,
    agent_id: AgentId,
    /// Who wants to make it, in a run of a swarm; empty for the run's own agent.
    path: Vec<String>,
    call_id: String,
    tool_name: String,
    /// What would be sent.
    #[schema(value_type = Option<Object>)]
    arguments: Option<Value>,
    /// What the model wrote, when somebody has changed it.
    #[schema(value_type = Option<Object>)]
    asked: Option<Value>,
    /// Whether arguments and reasons are withheld, because you may not see content.
    redacted: bool,
    /// The SHA-256 of everything that would be executed: arguments, tool and version, hosts, agent and version, credential,
    /// run and call. A vote names it and counts for nothing else.
    binding: String,
    status: ApprovalStatus,
    /// How many people have approved of it as it is.
    approvals: i64,
    policy: Policy,
    /// Whether you may vote now.
    may_vote: bool,
    /// Whether the decision holds for all calls of the tool in this run.
    for_run: bool,
    /// Why it was rejected.
    reason: Option<String>,
    #[serde(serialize_with = "wire_time::time")]
    created_at: DateTime<Utc>,
    /// When it is refused if nobody has decided.
    #[serde(serialize_with = "wire_time::time")]
    expires_at: DateTime<Utc>,
    #[serde(serialize_with = "wire_time::maybe")]
    decided_at: Option<DateTime<Utc>>,
}

impl Approval {
    pub(super) fn new<S>(row: Row, caller: &Caller<S>) -> Self {
        let (path, call_id) = call_key::split(&row.call_key);
        let (path, call_id) = (call_key::names(path), call_id.to_owned());
        let may_vote = row.is_open()
            && !row.is_over
            && caller.payloads
            && caller.user().is_some_and(|user| {
                row.policy.refusal(user, caller.role, row.initiator_id).is_none()
            });
        let shown = |value: Option<Value>| value.filter(|_| caller.payloads);
        let arguments = row.arguments.map(|arguments| arguments.0);
        let asked =
            row.asked.map(|asked| asked.0).filter(|asked| Some(asked) != arguments.as_ref());
        Self {
            approval_id: row.approval_id,
            run_id: row.run_id,
            agent_id: row.agent_id,
            path,
            call_id,
            tool_name: row.tool_name,
            asked: shown(asked),
            arguments: shown(arguments),
            redacted: !caller.payloads,
            binding: hex::encode(row.binding),
            status: ApprovalStatus::read(&row.status),
            approvals: row.approvals,
            policy: row.policy.0,
            may_vote,
            for_run: row.sticky,
            reason: row.reason.filter(|_| caller.payloads),
            created_at: row.created_at,
            expires_at: row.expires_at,
            decided_at: row.decided_at,
        }
    }
}

/// What somebody has said.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct VoteView {
    user_id: UserId,
    /// The API key by which they said it.
    key_id: Option<ApiKeyId>,
    /// `approve`, `edit` (approved with other arguments) or `reject`.
    kind: String,
    /// On what.
    binding: String,
    /// Somebody has edited the arguments since: it no longer counts.
    void: bool,
    for_run: bool,
    comment: Option<String>,
    #[serde(serialize_with = "wire_time::time")]
    at: DateTime<Utc>,
}

impl VoteView {
    pub(super) fn new(vote: Vote, revision: i32, payloads: bool) -> Self {
        Self {
            user_id: vote.user_id,
            key_id: vote.key_id,
            kind: vote.kind,
            binding: hex::encode(vote.binding),
            void: vote.revision != revision,
            for_run: vote.sticky,
            comment: vote.comment.filter(|_| payloads),
            at: vote.at,
        }
    }
}
