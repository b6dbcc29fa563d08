//! Events: past-tense facts that travel between services on JetStream.
//!
//! A compatible change is a new field with a default. Anything else is a new version sent beside the old one until
//! nobody filters on it.

pub mod agent;
pub mod approval;
pub mod budget;
pub mod credential;
pub mod run;
pub mod swarm;
pub mod tenant;
pub mod trigger;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{MessageId, TenantId};

crate::text_enum! {
    /// A stream; the word is the first token of its subjects.
    pub enum Stream {
        /// Fired triggers, on their way to runs.
        Triggers = "triggers",
        /// The life of runs.
        Runs = "runs",
        /// The life of credentials.
        Creds = "creds",
        /// Tenants and members.
        Identity = "identity",
    }
}

impl Stream {
    /// The stream's name in JetStream.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Triggers => "TRIGGERS",
            Self::Runs => "RUNS",
            Self::Creds => "CREDS",
            Self::Identity => "IDENTITY",
        }
    }
}

/// A fact that names its own subject.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stream that keeps it.
    const STREAM: Stream;
    /// Noun and past-tense verb: `run.finished`.
    const NAME: &'static str;
    /// Raised when the shape changes incompatibly.
    const VERSION: u8 = 1;

    /// `<stream>.<tenant>.<noun>.<verb>.v<n>`: no other code spells a subject.
    fn subject(tenant: TenantId) -> String {
        format!("{}.{tenant}.{}.v{}", Self::STREAM, Self::NAME, Self::VERSION)
    }

    /// The same for every tenant, as a consumer's filter.
    fn filter() -> String {
        format!("{}.*.{}.v{}", Self::STREAM, Self::NAME, Self::VERSION)
    }
}

/// What travels: the event and where it comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<E> {
    /// One publication; the key of deduplication.
    pub id: MessageId,
    /// The event's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event's version.
    pub version: u8,
    /// Whose it is.
    pub tenant: TenantId,
    /// When it became true, by the sender's database clock.
    pub occurred_at: DateTime<Utc>,
    /// W3C trace context of what caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The event itself.
    pub data: E,
}
