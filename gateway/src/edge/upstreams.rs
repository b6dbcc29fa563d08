//! Which path belongs to which service. What is not here, and not our own, is not reachable from outside.

use shared_models::Service::{self, Credsvc, Engine, Eventsvc};

/// What a client must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// An API key.
    Keyed,
    /// Nothing to us; the service checks signatures, so `Authorization` passes unchanged.
    Open,
}

/// A path, and everything below it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) prefix: &'static str,
    pub(crate) service: Service,
    pub(crate) door: Door,
}

const fn keyed(prefix: &'static str, service: Service) -> Entry {
    Entry { prefix, service, door: Door::Keyed }
}

pub(crate) const TABLE: &[Entry] = &[
    // Events.
    keyed("/agent/{agent_id}/trigger", Eventsvc),
    keyed("/agent/{agent_id}/triggers", Eventsvc),
    keyed("/triggers", Eventsvc),
    keyed("/v1/triggers", Eventsvc),
    keyed("/v1/deliveries", Eventsvc),
    keyed("/v1/events", Eventsvc),
    Entry { prefix: "/v1/hooks", service: Eventsvc, door: Door::Open },
    // Credentials.
    keyed("/tenant/{tenant_id}/credentials", Credsvc),
    keyed("/v1/credential-audit", Credsvc),
    keyed("/v1/credentials", Credsvc),
    keyed("/v1/credential-types", Credsvc),
    keyed("/v1/oauth-clients", Credsvc),
    keyed("/v1/connect_sessions", Credsvc),
    keyed("/v1/proxy", Credsvc),
    Entry { prefix: "/v1/connect", service: Credsvc, door: Door::Open },
    Entry { prefix: "/v1/oauth/callback", service: Credsvc, door: Door::Open },
    // Agents and their work.
    keyed("/v1/agents", Engine),
    keyed("/v1/swarms", Engine),
    keyed("/v1/tools", Engine),
    keyed("/v1/mcp-servers", Engine),
    keyed("/v1/runs", Engine),
    keyed("/v1/approvals", Engine),
    keyed("/v1/evaluations", Engine),
    Entry { prefix: "/v1/callbacks", service: Engine, door: Door::Open },
    keyed("/v1/conversations", Engine),
    keyed("/v1/webhook-endpoints", Engine),
    keyed("/v1/settings/retention", Engine),
    // Models and money.
    keyed("/v1/models", Engine),
    keyed("/v1/model-settings", Engine),
    keyed("/v1/prices", Engine),
    keyed("/v1/usage", Engine),
    keyed("/v1/budgets", Engine),
    keyed("/v1/platform/budgets", Engine),
    // As OpenAI's clients know them.
    keyed("/v1/chat", Engine),
    keyed("/v1/embeddings", Engine),
];

impl Entry {
    /// The router's patterns for it.
    pub(crate) fn patterns(&self) -> [String; 2] {
        [self.prefix.to_owned(), format!("{}/{{*rest}}", self.prefix)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_internal_is_passed_on() {
        for entry in TABLE {
            assert!(!entry.prefix.contains("internal"), "{}", entry.prefix);
            assert_ne!(entry.service, Service::Gateway, "{}", entry.prefix);
        }
    }
}
