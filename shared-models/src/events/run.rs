//! The life of a run, for other services. The run's own journal says more.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Stream};
use crate::{
    AgentId, EvaluationId, EventId, MicroUsd, RunId, RunMode, RunStatus, TriggerId, Usage, UserId,
    WaitReason,
};

/// Which run, and what started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRef {
    /// The run.
    pub run_id: RunId,
    /// The agent it executes.
    pub agent_id: AgentId,
    /// The top of its tree; itself when it has no parent.
    pub root_run_id: RunId,
    /// The trigger that started it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_id: Option<TriggerId>,
    /// The firing that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// The firing's attempt.
    #[serde(default)]
    pub attempt: i32,
    /// Absent when it is live. What a dry run has done has not happened.
    #[serde(default, skip_serializing_if = "RunMode::is_live")]
    pub mode: RunMode,
    /// The evaluation that it tries its agent for, or judges for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_id: Option<EvaluationId>,
}

macro_rules! run_event {
    ($(#[$doc:meta])* $name:ident = $event:literal { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// Which run.
            #[serde(flatten)]
            pub run: RunRef,
            $($(#[$fdoc])* pub $field: $type,)*
        }

        impl Event for $name {
            const STREAM: Stream = Stream::Runs;
            const NAME: &'static str = $event;
        }
    };
}

run_event! {
    /// A run exists and waits for a worker.
    /// Sent by `engine`; heard by `eventsvc` (timeline, and the proof that a firing arrived).
    RunCreated = "run.created" {}
}
run_event! {
    /// A run left the queue for the first time.
    /// Sent by `engine`; heard by `eventsvc` (timeline).
    RunStarted = "run.started" {}
}
run_event! {
    /// A run waits for something outside.
    /// Sent by `engine`; heard by `eventsvc` (timeline).
    RunWaiting = "run.waiting" {
        /// For what.
        reason: WaitReason,
    }
}
run_event! {
    /// Somebody has stopped a run for a while.
    /// Sent by `engine`; heard by `eventsvc` (timeline).
    RunPaused = "run.paused" {
        /// Who; nobody when it stops with the run it works for.
        #[serde(default)]
        by: Option<UserId>,
    }
}
run_event! {
    /// A run goes on that was paused or has waited.
    /// Sent by `engine`; heard by `eventsvc` (timeline).
    RunResumed = "run.resumed" {
        /// Who has let a paused one go on.
        #[serde(default)]
        by: Option<UserId>,
        /// What it has waited for; absent when it was paused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<WaitReason>,
    }
}
run_event! {
    /// A run ended; its status never changes again.
    /// Sent by `engine`; heard by `eventsvc` (timeline).
    RunFinished = "run.finished" {
        /// How it ended.
        status: RunStatus,
        /// Why it failed, in words fit for its owner.
        #[serde(default)]
        error: Option<String>,
        /// The same in one word that stays, such as `model_auth` or `deadline`.
        #[serde(default)]
        error_code: Option<String>,
        /// Tokens used, over all model calls.
        usage: Usage,
        /// What they cost; null when a model has no price.
        #[serde(default)]
        cost: Option<MicroUsd>,
    }
}
run_event! {
    /// A firing could not become a run: its agent is gone or not active.
    /// Sent by `engine`; heard by `eventsvc` (timeline).
    RunRefused = "run.refused" {
        /// Why, in words.
        reason: String,
    }
}
