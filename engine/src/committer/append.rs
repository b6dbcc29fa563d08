//! One run's share of a group.

use std::sync::Arc;

use serde_json::Value;
use shared_models::{
    AgentId, Effect, EffectState, MicroUsd, RunId, RunStatus, TenantId, Usage, UserId, WaitReason,
};
use uuid::Uuid;

use crate::budgets::Drawn;
use crate::record::{ContentRef, Record};

/// What is to become durable together. Refused as a whole unless the run is under way in `epoch` and its next
/// record is `seq`.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) tenant: TenantId,
    pub(crate) run: RunId,
    pub(crate) epoch: i32,
    pub(crate) seq: i64,
    pub(crate) records: Vec<Noted>,
    /// What the records refer to, as JSON text.
    pub(crate) content: Vec<(ContentRef, Vec<u8>)>,
    /// Each call at most once.
    pub(crate) effects: Vec<EffectChange>,
    pub(crate) change: Change,
    /// The signals that have been taken in: just these, as one with a smaller number may be committed after they were read.
    pub(crate) drained: Vec<i64>,
    /// Wake the run after so many milliseconds, under this name.
    pub(crate) timer: Option<(&'static str, i64)>,
    pub(crate) outbox: Vec<pubsub::OutboxRow>,
    pub(crate) spent: Vec<Spent>,
    /// What of that, and of calls of tools, budgets are charged with.
    pub(crate) drawn: Vec<Drawn>,
}

/// A record, and whose conversation it is of: empty for the run's own.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) path: Arc<str>,
    pub(crate) record: Record,
}

impl From<Record> for Noted {
    /// Of the run's own conversation.
    fn from(record: Record) -> Self {
        Self { path: "".into(), record }
    }
}

/// What one reply of a model took.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    /// Whose model it was.
    pub(crate) agent: AgentId,
    /// Who started the run, or else in whose name it acts.
    pub(crate) user: UserId,
    /// As the agent names it.
    pub(crate) model: String,
    pub(crate) usage: Usage,
    /// None when the model has no price.
    pub(crate) cost: Option<MicroUsd>,
}

impl Append {
    pub(crate) fn new(tenant: TenantId, run: RunId, epoch: i32, seq: i64) -> Self {
        Self {
            tenant,
            run,
            epoch,
            seq,
            records: Vec::new(),
            content: Vec::new(),
            effects: Vec::new(),
            change: Change::default(),
            drained: Vec::new(),
            timer: None,
            outbox: Vec::new(),
            spent: Vec::new(),
            drawn: Vec::new(),
        }
    }

    /// Notes how far a call has come; the last word counts.
    pub(crate) fn set_effect(&mut self, change: EffectChange) {
        self.effects.retain(|other| other.call_id != change.call_id);
        self.effects.push(change);
    }

    /// About how many bytes it writes.
    pub(super) fn size(&self) -> usize {
        let said: usize = self.content.iter().map(|(_, body)| body.len()).sum();
        said + self.change.output.as_ref().map_or(0, String::len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.effects.is_empty()
            && self.change.status.is_none()
            && self.drained.is_empty()
            && self.timer.is_none()
            && self.outbox.is_empty()
    }
}

/// How the run's row changes; what is absent stays as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// Leaves `running` and gives the run up.
    pub(crate) status: Option<RunStatus>,
    pub(crate) wait_reason: Option<WaitReason>,
    pub(crate) output: Option<String>,
    pub(crate) finish_reason: Option<&'static str>,
    pub(crate) error_code: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) usage: Option<Usage>,
    /// What it cost so far; none inside when that is not known.
    #[allow(clippy::option_option, reason = "absent is unchanged, none is unknown")]
    pub(crate) cost: Option<Option<MicroUsd>>,
    pub(crate) steps: Option<u32>,
}

/// How far a call to the outside world has come.
#[derive(Clone, Debug)]
pub(crate) struct EffectChange {
    /// Which call; see [`crate::call_key`].
    pub(crate) call_id: String,
    pub(crate) tool_name: String,
    pub(crate) class: Effect,
    pub(crate) idempotency_key: Uuid,
    pub(crate) timeout_ms: i64,
    pub(crate) state: EffectState,
    pub(crate) reason: Option<String>,
    pub(crate) answered_by: Option<UserId>,
}

/// All texts of a value as a `jsonb` column takes them: see [`printable`].
pub(crate) fn printable_json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(printable(&text)),
        Value::Array(items) => items.into_iter().map(printable_json).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, field)| (printable(&name), printable_json(field)))
            .collect(),
        other => other,
    }
}

/// Text as a `text` column takes it: a NUL, which models and tools may say, becomes the replacement character.
pub(crate) fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
