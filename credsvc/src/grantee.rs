//! Who may be given a credential.

use std::fmt;

use serde::{Deserialize, Serialize};
use shared_models::{AgentId, ModelId, TriggerId, WebhookEndpointId};
use uuid::Uuid;

/// An agent, a trigger, a model or an endpoint of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", content = "id", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Grantee {
    /// An agent, for its tools and its model.
    Agent(AgentId),
    /// A trigger, for its listener or signature.
    Trigger(TriggerId),
    /// A model of the tenant, for whoever runs on it.
    Model(ModelId),
    /// An endpoint that is told of runs, for its signatures.
    Webhook(WebhookEndpointId),
}

impl Grantee {
    /// The word for its kind, as stored.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Trigger(_) => "trigger",
            Self::Model(_) => "model",
            Self::Webhook(_) => "webhook",
        }
    }

    /// The bare id, as stored.
    pub(crate) fn uuid(&self) -> Uuid {
        match self {
            Self::Agent(id) => id.uuid(),
            Self::Trigger(id) => id.uuid(),
            Self::Model(id) => id.uuid(),
            Self::Webhook(id) => id.uuid(),
        }
    }

    /// A grantee from its stored parts.
    pub(crate) fn from_parts(kind: &str, id: Uuid) -> Option<Self> {
        match kind {
            "agent" => Some(Self::Agent(id.into())),
            "trigger" => Some(Self::Trigger(id.into())),
            "model" => Some(Self::Model(id.into())),
            "webhook" => Some(Self::Webhook(id.into())),
            _ => None,
        }
    }

    /// A grantee from the two segments of a path.
    pub(crate) fn parse(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "agent" => id.parse().ok().map(Self::Agent),
            "trigger" => id.parse().ok().map(Self::Trigger),
            "model" => id.parse().ok().map(Self::Model),
            "webhook" => id.parse().ok().map(Self::Webhook),
            _ => None,
        }
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => write!(f, "agent {id}"),
            Self::Trigger(id) => write!(f, "trigger {id}"),
            Self::Model(id) => write!(f, "model {id}"),
            Self::Webhook(id) => write!(f, "webhook {id}"),
        }
    }
}
