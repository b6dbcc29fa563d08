//! The engine, asked about agents and runs.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use servicekit::{Peer, PeerError, peer::Ask};
use shared_models::{RunId, TeamId, TenantId};

use crate::trigger::Started;

/// An agent or a swarm, as far as a trigger has to know it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Agent {
    /// `user` or `team`: who may see it, and so its triggers.
    pub scope: String,
    /// Whose it is when it is a team's.
    #[serde(default)]
    pub team_id: Option<TeamId>,
}

impl Agent {
    /// None at all, for what nobody's agent does: its owner and administrators see it.
    pub(crate) fn none() -> Self {
        Self { scope: "user".into(), team_id: None }
    }
}

/// What an ended run came to.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ended {
    /// The last thing the model said.
    #[serde(default)]
    pub output: Option<String>,
    /// The same as JSON, when the agent answers by a schema.
    #[serde(default)]
    pub parsed: Option<Value>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Failure>,
}

/// Why a run failed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Failure {
    /// In words.
    pub message: String,
}

/// One call of a run to the outside world, and how far it has come.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Effect {
    /// Whose call it is, in a tree of agents.
    pub path: Vec<String>,
    pub call_id: String,
    pub tool_name: String,
    /// What a repeat would do.
    #[serde(rename = "effect")]
    pub class: String,
    pub state: String,
    pub intended_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// What a run did to the world, or the beginning of it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Effects {
    pub items: Vec<Effect>,
    /// Whether it did more.
    #[serde(default)]
    pub more: bool,
}

/// A client of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine(pub Peer);

impl Engine {
    /// What has become of a run that one of our events started.
    pub(crate) async fn run(&self, tenant: TenantId, run: RunId) -> Result<Ended, PeerError> {
        let ask = Ask::new(tenant, "webhook.respond").for_run(run);
        self.0.get(ask, &format!("/internal/runs/{run}")).await
    }

    /// What a run did to the world; nothing where it is no more.
    pub(crate) async fn effects(&self, tenant: TenantId, run: RunId) -> Result<Effects, PeerError> {
        let ask = Ask::new(tenant, "delivery.timeline").for_run(run);
        match self.0.get(ask, &format!("/internal/runs/{run}/effects")).await {
            Err(error) if error.status() == Some(404) => Ok(Effects::default()),
            found => found,
        }
    }

    /// The agent or the swarm, if the person with this token may see it.
    pub(crate) async fn agent(
        &self,
        tenant: TenantId,
        subject: &str,
        started: Started,
    ) -> Result<Option<Agent>, PeerError> {
        let ask = Ask::new(tenant, "trigger.save").on_behalf(subject);
        let path = match started {
            Started::Agent(agent) => format!("/internal/agents/{agent}"),
            Started::Swarm(swarm) => format!("/internal/swarms/{swarm}"),
        };
        match self.0.get(ask, &path).await {
            Ok(agent) => Ok(Some(agent)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
