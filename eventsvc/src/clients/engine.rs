//! The engine, asked about agents.

use serde::Deserialize;
use servicekit::{Peer, PeerError, peer::Ask};
use shared_models::{AgentId, TeamId, TenantId};

/// An agent, as far as a trigger has to know it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Agent {
    /// `user` or `team`: who may see it, and so its triggers.
    pub scope: String,
    /// Whose it is when it is a team's.
    #[serde(default)]
    pub team_id: Option<TeamId>,
}

/// A client of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine(pub Peer);

impl Engine {
    /// The agent, if the person with this token may see it.
    pub(crate) async fn agent(
        &self,
        tenant: TenantId,
        subject: &str,
        agent: AgentId,
    ) -> Result<Option<Agent>, PeerError> {
        let ask = Ask::new(tenant, "trigger.save").on_behalf(subject);
        match self.0.get(ask, &format!("/internal/agents/{agent}")).await {
            Ok(agent) => Ok(Some(agent)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
