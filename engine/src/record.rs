//! What a journal says. The records are the run: folded over an empty conversation, or over the empty tree of a swarm, in
//! which each record has its path, they give its state.
//!
//! A record never changes once written, and old ones stay readable: a new field gets a default, another meaning gets
//! another kind or a higher [`VERSION`]. Whatever was said is not in the record but in `content`, once, and referred to.

use agentcore::{Failure, FinishReason, ReplyFinish};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared_models::{
    AgentId, ApprovalId, Effect, EventId, HookPoint, MicroUsd, RunId, RunMode, RunStatus, SwarmId,
    TriggerId, Usage, UserId, WaitReason, WorkerId,
};
use uuid::Uuid;

use crate::budgets::{Changed, Short};
use crate::clients::credsvc::Needed;
use crate::fork::{Decision, Unmatched};

/// The version of the records this binary writes. A run that has records of a later one is left to engines that know them.
///
/// 2: calls that wait for a moment; forks. 3: budgets that were changed.
pub(crate) const VERSION: i16 = 3;

/// The name of something that was said: the SHA-256 of its JSON text, in hex on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContentRef(pub [u8; 32]);

impl ContentRef {
    pub(crate) fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }
}

impl Serialize for ContentRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for ContentRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(text.as_ref(), &mut hash).map_err(serde::de::Error::custom)?;
        Ok(Self(hash))
    }
}

/// Which swarm a run is of, as it was at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct RunSwarm {
    pub(crate) swarm_id: SwarmId,
    pub(crate) swarm_version: i32,
    pub(crate) swarm_name: String,
}

/// One thing that happened to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The run exists and waits for a worker.
    Created {
        agent_id: AgentId,
        agent_version: i32,
        agent_name: String,
        model: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trigger_id: Option<TriggerId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event_id: Option<EventId>,
        #[serde(default)]
        attempt: i32,
        /// For a run of a swarm; the agent is then the member that begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        swarm: Option<RunSwarm>,
    },
    /// Something was said to it.
    Input { message: ContentRef },
    /// It goes on from where another run stood. The next `copied` records are that run's: what they say happened there.
    Forked {
        of_run_id: RunId,
        /// The last record of that run that stands.
        seq: i64,
        mode: RunMode,
        /// For a dry one: what becomes of a call that the other run has not made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unmatched: Option<Unmatched>,
        /// What is different from there on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        edits: Vec<String>,
        copied: usize,
    },
    /// A worker took it for the first time.
    Started { worker: WorkerId, epoch: i32 },
    /// A worker took it over from another, or after a wait.
    Resumed { worker: WorkerId, epoch: i32 },
    /// A member has taken control over from another, whose path is given.
    HandedOver { from: String },
    /// The model is about to be asked, with the instructions and the first `read` messages.
    ModelCalled { step: u32, model: String, attempt: u32, read: usize },
    /// The model answered.
    ModelReplied {
        step: u32,
        message: ContentRef,
        usage: Usage,
        /// What that cost; absent when the model has no price.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<MicroUsd>,
        /// Older records do not say: then the calls of the message do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finish: Option<ReplyFinish>,
    },
    /// The first `upto` messages are no longer sent; what the message says stands for them.
    Summarised {
        upto: usize,
        message: ContentRef,
        usage: Usage,
        /// What that cost; absent when the model has no price.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<MicroUsd>,
    },
    /// The conversation has become long, and there is no summary to be had.
    NotSummarised { error: String },
    /// The model did not answer; it is asked again, or another one is.
    ModelRetried { step: u32, attempt: u32, error: String, delay_ms: u64 },
    /// The model did not answer, and asking again is of no use.
    ModelFailed { failure: Failure },
    /// A tool is about to be called.
    ToolIntended { call_id: String, tool_name: String, effect: Effect, idempotency_key: Uuid },
    /// A call whose outcome a crash has hidden, or that waited for a credential, is made again: that does no harm.
    ToolRepeated { call_id: String, tool_name: String },
    /// Tools that the model has looked for; it may call them from now on.
    ToolsFound { call_id: String, names: Vec<String> },
    /// The call goes on outside: a person is asked, or another run works on it.
    ToolWaiting {
        call_id: String,
        tool_name: String,
        reason: WaitReason,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        question: Option<String>,
        /// JSON Schema of the answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child_run_id: Option<RunId>,
        /// The moment that is waited for, by the database's clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    /// Nobody here knows whether the call happened.
    ToolInDoubt {
        call_id: String,
        tool_name: String,
        reason: String,
        /// A probe is asked before people are.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        probe: bool,
    },
    /// The probe of a tool is about to be asked about a call in doubt.
    ProbeAsked { call_id: String, tool_name: String, attempt: u32 },
    /// It says that the call has not happened, which the call may still do: it is asked again at this moment, by the
    /// database's clock.
    ProbeTooEarly { call_id: String, until: DateTime<Utc> },
    /// It does not tell; people are asked.
    ProbeSilent { call_id: String, reason: String },
    /// Somebody wants the probe asked.
    ProbeWanted { call_id: String, by: UserId },
    /// A tool call came to an end.
    ToolAnswered { call_id: String, tool_name: String, message: ContentRef, error: bool },
    /// In a dry run: the call is not made, its answer is the one that a call of the other run got, or one that was given
    /// for it when the run was forked.
    ToolReplayed { call_id: String, tool_name: String, of_call_id: String, edited: bool },
    /// In a dry run: the other run has no answer to the call.
    ToolUnmatched { call_id: String, tool_name: String, then: Unmatched },
    /// Somebody has said what becomes of such a call.
    UnmatchedDecided { call_id: String, tool_name: String, decision: Decision, by: UserId },
    /// Somebody who knows said what became of a call in doubt, or its probe did.
    DoubtAnswered {
        call_id: String,
        happened: bool,
        /// Nobody when a probe has found out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<UserId>,
    },
    /// People are asked about a call before it is made.
    ApprovalRequested {
        call_id: String,
        tool_name: String,
        approval_id: ApprovalId,
        /// The SHA-256 of what would be executed, in hex.
        binding: String,
    },
    /// People have said what is to become of a call, or nobody has in time.
    ApprovalDecided {
        call_id: String,
        tool_name: String,
        approval_id: ApprovalId,
        approved: bool,
        /// What they approved of; no other call is made by it.
        binding: String,
        /// What is sent instead of what the model wrote, when they have changed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arguments: Option<Value>,
        /// Nobody when time has decided.
        by: Vec<UserId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Somebody has stopped the run for a while.
    Paused {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<UserId>,
    },
    /// Somebody has let it go on.
    Unpaused {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<UserId>,
    },
    /// The run holds no worker until something outside happens.
    Waiting {
        reason: WaitReason,
        /// Credentials that somebody has to connect again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        needs: Vec<Needed>,
    },
    /// There is no room in these budgets for what the run wants to do next.
    BudgetMet { short: Vec<Short> },
    /// Somebody has changed a budget of the run: its own, or that of a member.
    BudgetChanged(Box<Changed>),
    /// A hook has let the run go on.
    HookPassed { point: HookPoint, name: String, key: String },
    /// A hook has stopped the run, or could not be told of an error.
    HookFailed { point: HookPoint, name: String, error: String },
    /// The run cannot go on, for a reason of its own.
    Aborted { failure: Failure },
    /// Somebody, or the deadline, stopped it.
    Stopped {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<UserId>,
    },
    /// The last record.
    Finished {
        status: RunStatus,
        finish_reason: FinishReason,
        /// The reply whose text is the output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<ContentRef>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_code: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        steps: u32,
        usage: Usage,
        /// Null when one of the models has no price.
        #[serde(default)]
        cost: Option<MicroUsd>,
    },
}

impl Record {
    /// The record as the journal's columns: its kind, and the rest as JSON text.
    pub(crate) fn columns(&self) -> Result<(String, String), serde_json::Error> {
        // Adjacent tagging writes the kind and then the data, and a kind has nothing to escape.
        let text = serde_json::to_string(self)?;
        let columns = text
            .strip_prefix(r#"{"kind":""#)
            .and_then(|rest| rest.split_once(r#"","data":"#))
            .and_then(|(kind, data)| Some((kind.to_owned(), data.strip_suffix('}')?.to_owned())));
        columns.ok_or_else(|| serde::ser::Error::custom("a record without data"))
    }

    /// Reads what [`Record::columns`] wrote.
    pub(crate) fn read(kind: &str, data: Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(serde_json::json!({ "kind": kind, "data": data }))
    }

    /// What it refers to.
    pub(crate) fn content(&self) -> Option<ContentRef> {
        match self {
            Self::Input { message }
            | Self::ModelReplied { message, .. }
            | Self::Summarised { message, .. }
            | Self::ToolAnswered { message, .. } => Some(*message),
            Self::Finished { message, .. } => *message,
            Self::Created { .. }
            | Self::Started { .. }
            | Self::Resumed { .. }
            | Self::HandedOver { .. }
            | Self::Forked { .. }
            | Self::ToolReplayed { .. }
            | Self::ToolUnmatched { .. }
            | Self::UnmatchedDecided { .. }
            | Self::ModelCalled { .. }
            | Self::ModelRetried { .. }
            | Self::ModelFailed { .. }
            | Self::NotSummarised { .. }
            | Self::ToolIntended { .. }
            | Self::ToolRepeated { .. }
            | Self::ToolsFound { .. }
            | Self::ToolWaiting { .. }
            | Self::ToolInDoubt { .. }
            | Self::ProbeAsked { .. }
            | Self::ProbeTooEarly { .. }
            | Self::ProbeSilent { .. }
            | Self::ProbeWanted { .. }
            | Self::DoubtAnswered { .. }
            | Self::Waiting { .. }
            | Self::BudgetMet { .. }
            | Self::BudgetChanged(_)
            | Self::Paused { .. }
            | Self::Unpaused { .. }
            | Self::ApprovalRequested { .. }
            | Self::ApprovalDecided { .. }
            | Self::HookPassed { .. }
            | Self::HookFailed { .. }
            | Self::Aborted { .. }
            | Self::Stopped { .. } => None,
        }
    }

    /// The call that it is about.
    pub(crate) fn call_id(&self) -> Option<&str> {
        match self {
            Self::ToolIntended { call_id, .. }
            | Self::ToolRepeated { call_id, .. }
            | Self::ToolsFound { call_id, .. }
            | Self::ToolWaiting { call_id, .. }
            | Self::ToolInDoubt { call_id, .. }
            | Self::ProbeAsked { call_id, .. }
            | Self::ProbeTooEarly { call_id, .. }
            | Self::ProbeSilent { call_id, .. }
            | Self::ProbeWanted { call_id, .. }
            | Self::ToolAnswered { call_id, .. }
            | Self::ToolReplayed { call_id, .. }
            | Self::ToolUnmatched { call_id, .. }
            | Self::UnmatchedDecided { call_id, .. }
            | Self::DoubtAnswered { call_id, .. }
            | Self::ApprovalRequested { call_id, .. }
            | Self::ApprovalDecided { call_id, .. } => Some(call_id),
            _ => None,
        }
    }

    /// Whether the run is further than before. Taking a run over and asking again are not progress: a run that
    /// never gets beyond them kills whoever takes it.
    pub(crate) fn is_progress(&self) -> bool {
        !matches!(
            self,
            Self::Started { .. }
                | Self::Resumed { .. }
                | Self::HandedOver { .. }
                | Self::ModelCalled { .. }
                | Self::ModelRetried { .. }
                | Self::ToolRepeated { .. }
                | Self::ProbeAsked { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_columns() {
        let message = ContentRef::of(b"{}");
        let records = [
            Record::Input { message },
            Record::ModelCalled { step: 1, model: "sim:echo".into(), attempt: 0, read: 1 },
            Record::ToolAnswered {
                call_id: "c\u{0}1".into(),
                tool_name: "t".into(),
                message,
                error: true,
            },
            Record::Waiting { reason: WaitReason::Doubt, needs: Vec::new() },
        ];

        for record in records {
            let (kind, data) = record.columns().unwrap();
            let read = Record::read(&kind, serde_json::from_str(&data).unwrap()).unwrap();
            assert_eq!(read, record);
        }
    }
}
