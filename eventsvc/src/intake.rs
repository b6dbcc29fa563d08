//! From a request at a hook to a row in the committer's queue.
//!
//! Raw body under a cap, then proof of origin, then meaning, then storage: nothing is parsed before it is verified, and
//! nothing is answered with 202 before it is committed.

mod apps;
mod body;
mod bucket;
pub mod committer;
mod decide;
mod guard;
mod meaning;
mod prove;
mod push;
mod receive;
mod respond;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use pubsub::OutboxRow;
use serde_json::Value;
use shared_models::{DeliveryId, EventId, SourceId, TenantId, TriggerId};

pub use crate::trigger::System;
pub use apps::Apps;
pub(crate) use apps::receive as receive_app;
pub use bucket::Pace;
pub use committer::{Committer, Outcome};
pub(crate) use decide::{Draft, Origin, decide, dedupe_key, expressed};
pub(crate) use guard::Guard;
pub(crate) use push::receive as receive_push;
pub(crate) use receive::{Answer, Arrived, receive};
pub(crate) use respond::{Patience, Response};

shared_models::text_enum! {
    /// What a trigger did with a delivery, and what came of a delivery altogether.
    pub enum Status {
        /// It fired.
        Fired = "fired",
        /// It will fire when the trigger's flow control lets it.
        Queued = "queued",
        /// It will fire when the trigger is no longer paused.
        Held = "held",
        /// It went along with another.
        Merged = "merged",
        /// It will fire when somebody says what it shall start.
        Parked = "parked",
        /// It could not fire, or its run failed; the reason says why.
        Failed = "failed",
        /// Its filter turned it away.
        Filtered = "filtered",
        /// It was not active.
        Skipped = "skipped",
    }
}

shared_models::text_enum! {
    /// Why something did not fire, or what failed.
    pub enum ReasonClass {
        /// The trigger was not active.
        Inactive = "inactive",
        /// The trigger was paused.
        Paused = "paused",
        /// The filter said no.
        Unmatched = "unmatched",
        /// The filter could not be evaluated.
        Filter = "filter",
        /// Nothing could be picked to run.
        Route = "route",
        /// A credential was missing or refused.
        Credential = "credential",
        /// A budget was used up.
        Budget = "budget",
        /// The engine refused.
        Engine = "engine",
        /// A tool or a hook failed.
        Tool = "tool",
        /// The input could not be made.
        Input = "input",
        /// Flow control: it waits, or went along with another.
        Flow = "flow",
        /// It came of a run that the trigger had started itself.
        Loop = "loop",
    }
}

/// A delivery ready to be stored, with what it fires.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its id.
    pub delivery_id: DeliveryId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Where it came.
    pub source_id: SourceId,
    /// The kind of source.
    pub system: System,
    /// How a repetition is told, if it can be.
    pub dedupe: Option<DedupeKey>,
    /// What proved its origin: the scheme of a hook, or our own clock.
    pub verified_by: &'static str,
    /// The body's content type.
    pub content_type: Option<String>,
    /// The headers that are kept.
    pub headers: Value,
    /// The body as it came.
    pub body: Bytes,
    /// When the provider says it happened, or else when it came.
    pub occurred_at: DateTime<Utc>,
    /// When it came, by the database's clock.
    pub received_at: DateTime<Utc>,
    /// Each trigger's answer.
    pub firings: Vec<NewFiring>,
}

/// How a repetition is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupeKey {
    /// Unique within the source.
    pub key: String,
    /// The provider's own id, as far as it has one.
    pub provider_id: Option<String>,
    /// For bodies counted as the same within a window.
    pub window: Option<Window>,
    /// What it tells of, unique within the source as well: the same thing told of in another way is a repetition.
    pub about: Option<String>,
    /// What is taken as the same as that, though it reads differently.
    pub nearby: Option<[String; 2]>,
}

/// Within which the same body is the same delivery, when its own stretch of time has it not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The key of the stretch before, and since when it counts.
    pub before: (String, DateTime<Utc>),
    /// The key of the stretch after, which somebody may have come to who was faster, and until when it counts.
    pub after: (String, DateTime<Utc>),
}

/// A trigger's answer to a delivery.
#[derive(Clone, Debug)]
pub struct NewFiring {
    /// Its id, and the event's.
    pub event_id: EventId,
    /// The trigger.
    pub trigger_id: TriggerId,
    /// What the trigger did.
    pub verdict: Verdict,
    /// The event to publish, if it fired.
    pub outbox: Option<OutboxRow>,
}

/// Why what is to be routed is parked.
pub(crate) const NO_ROUTER: &str =
    "there is no router to pick what to run: give the trigger a target and replay it";

/// What a trigger did with a delivery, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fired.
    Fired,
    /// It waits for its turn.
    Queued,
    /// It is paused.
    Held,
    /// Its target is for a router that does not exist.
    Parked,
    /// It is not active.
    Skipped,
    /// It would start itself again; the words say how.
    Looped(String),
    /// Its filter said no.
    Filtered,
    /// Its filter or its input could not be evaluated.
    Failed(ReasonClass, String),
}

impl Verdict {
    /// The word that is stored.
    pub fn status(&self) -> Status {
        match self {
            Self::Fired => Status::Fired,
            Self::Queued => Status::Queued,
            Self::Held => Status::Held,
            Self::Parked => Status::Parked,
            Self::Skipped | Self::Looped(_) => Status::Skipped,
            Self::Filtered => Status::Filtered,
            Self::Failed(..) => Status::Failed,
        }
    }

    /// The reason's class and words, unless it fired.
    pub fn reason(&self) -> Option<(ReasonClass, &str)> {
        match self {
            Self::Fired => None,
            Self::Queued => Some((ReasonClass::Flow, "it waits for its turn")),
            Self::Held => {
                Some((ReasonClass::Paused, "the trigger, or all of its system, is paused"))
            }
            Self::Parked => Some((ReasonClass::Route, NO_ROUTER)),
            Self::Skipped => Some((ReasonClass::Inactive, "the trigger is not active")),
            Self::Looped(why) => Some((ReasonClass::Loop, why)),
            Self::Filtered => Some((ReasonClass::Unmatched, "the filter said no")),
            Self::Failed(class, why) => Some((*class, why)),
        }
    }
}

impl Received {
    /// What came of it altogether: the best of what its triggers did.
    pub fn verdict(&self) -> &Verdict {
        self.firings
            .iter()
            .map(|firing| &firing.verdict)
            .min_by_key(|v| v.status())
            .unwrap_or(&Verdict::Skipped)
    }

    /// The events that were fired.
    pub fn event_ids(&self) -> Vec<EventId> {
        let fired = self.firings.iter().filter(|firing| firing.outbox.is_some());
        fired.map(|firing| firing.event_id).collect()
    }

    /// How much memory it holds, roughly.
    pub fn weight(&self) -> usize {
        let events = self.firings.iter().filter_map(|firing| firing.outbox.as_ref());
        self.body.len() + events.map(|row| row.envelope.len()).sum::<usize>() + 2048
    }
}
