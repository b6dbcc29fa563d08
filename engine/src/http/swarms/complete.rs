//! A definition with everything looked up that it names, as far as whoever saves it may see it.

use std::collections::HashMap;

use dbutil::TenantTx;
use servicekit::{Caller, FieldError};
use shared_models::{AgentId, AgentScope, SwarmId, ToolId, UserId};

use crate::{
    error::Error,
    http::edge,
    store::{self, agent_tool::merged, swarm::Swarm},
    swarm::{MemberFields, SwarmFields, members},
    visibility::Viewer,
};

/// Fills in what the definition leaves out, and refuses what cannot be. `before` is the swarm as it was: what it named
/// then need not be there any more.
pub(super) async fn complete<S>(
    tx: &mut TenantTx,
    caller: &Caller<S>,
    mut fields: SwarmFields,
    before: Option<&Swarm>,
) -> Result<SwarmFields, Error> {
    let models = store::model::names(tx).await?;
    let mut errors = fields.check(&models);
    let shared_as_before = before.is_some_and(|before| {
        (before.fields.scope, before.fields.team_id) == (fields.scope, fields.team_id)
    });
    if fields.scope == AgentScope::Team && !shared_as_before {
        (fields.team_id, errors) = edge::in_a_team(caller, fields.team_id, errors);
    }
    // Nothing is looked up by what cannot be stored.
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let mut look = Look {
        tx,
        viewer: Viewer::of(caller),
        errors,
        agents: HashMap::new(),
        swarms: HashMap::new(),
    };
    look.members(&fields, before).await?;
    look.parent(&fields, before).await?;
    look.tools(&fields, before).await?;
    let Look { mut errors, agents, swarms, .. } = look;
    members::fill_names(&mut fields.members, &agents, &swarms);
    if errors.is_empty() {
        errors.extend(fields.check_shape().err());
    }
    if errors.is_empty() { Ok(fields) } else { Err(Error::Invalid(errors)) }
}

struct Look<'a> {
    tx: &'a mut TenantTx,
    viewer: Viewer,
    errors: Vec<FieldError>,
    agents: HashMap<AgentId, String>,
    swarms: HashMap<SwarmId, String>,
}

impl Look<'_> {
    async fn members(&mut self, fields: &SwarmFields, before: Option<&Swarm>) -> Result<(), Error> {
        let old = before.map(|before| before.fields.everybody()).unwrap_or_default();
        for (at, member) in fields.everybody() {
            match member {
                MemberFields::Agent { agent_id, .. } => {
                    let known = old.iter().any(|(_, old)| {
                        matches!(old, MemberFields::Agent { agent_id: old, .. } if old == agent_id)
                    });
                    self.agent(&at, *agent_id, known).await?;
                }
                MemberFields::Swarm { swarm_id, .. } => {
                    let known = before.is_some_and(|old| old.fields.nested().contains(swarm_id));
                    self.swarm(&format!("{at}/swarm_id"), *swarm_id, known).await?;
                }
                MemberFields::NewAgent { .. }
                | MemberFields::Parallel { .. }
                | MemberFields::Serial { .. } => {}
            }
        }
        Ok(())
    }

    async fn agent(&mut self, at: &str, id: AgentId, known: bool) -> Result<(), Error> {
        let found = store::agent::find(self.tx, id).await?;
        let found = found.filter(|agent| {
            known || self.viewer.sees(agent.fields.scope, agent.owner, agent.fields.team_id)
        });
        match found {
            Some(agent) => drop(self.agents.insert(id, agent.fields.name)),
            None if known => {}
            None => {
                let why = "there is no such agent, or it is not yours to see";
                self.errors.push(FieldError::new(format!("{at}/agent_id"), why));
            }
        }
        Ok(())
    }

    async fn swarm(&mut self, pointer: &str, id: SwarmId, known: bool) -> Result<(), Error> {
        let found = store::swarm::find(self.tx, id).await?;
        let found = found.filter(|swarm| {
            known || self.viewer.sees(swarm.fields.scope, swarm.owner, swarm.fields.team_id)
        });
        match found {
            Some(swarm) => drop(self.swarms.insert(id, swarm.fields.name)),
            None if known => {}
            None => {
                let why = "there is no such swarm, or it is not yours to see";
                self.errors.push(FieldError::new(pointer, why));
            }
        }
        Ok(())
    }

    async fn parent(&mut self, fields: &SwarmFields, before: Option<&Swarm>) -> Result<(), Error> {
        let Some(parent) = fields.parent_swarm_id else { return Ok(()) };
        let known = before.is_some_and(|before| before.fields.parent_swarm_id == Some(parent));
        self.swarm("/parent_swarm_id", parent, known).await
    }

    /// Tools that every member is to have.
    async fn tools(&mut self, fields: &SwarmFields, before: Option<&Swarm>) -> Result<(), Error> {
        for (index, id) in fields.defaults.tools.iter().enumerate() {
            let known = before.is_some_and(|before| before.fields.defaults.tools.contains(id));
            if let Some(why) = self.unfit(*id).await?.filter(|_| !known) {
                self.errors.push(FieldError::new(format!("/defaults/tools/{index}"), why));
            }
        }
        Ok(())
    }

    async fn unfit(&mut self, id: ToolId) -> Result<Option<&'static str>, Error> {
        let tool = match store::tool::find(self.tx, id).await {
            Ok(tool) => tool,
            Err(Error::ToolNotFound(_)) => return Ok(Some("there is no such tool")),
            Err(error) => return Err(error),
        };
        let config = merged(&tool.fields, &serde_json::json!({}))?;
        let why = "it needs a credential: give it to the agents themselves, with one";
        Ok(config.credential().map(|_| why))
    }
}

/// Makes the agents that are to be made with the swarm, and names them in its definition. They belong to whoever saves it.
pub(super) async fn make_agents<S>(
    tx: &mut TenantTx,
    caller: &Caller<S>,
    by: UserId,
    fields: &mut SwarmFields,
) -> Result<Vec<AgentId>, Error> {
    let models = store::model::names(tx).await?;
    let mut made = Vec::new();
    for agent in fields.new_agents() {
        let agent = edge::complete(caller, agent, &models)?;
        let id = AgentId::mint();
        store::agent::insert(tx, id, by, &agent).await?;
        made.push(id);
    }
    members::settle_new(&mut fields.members, &mut made.iter().copied());
    Ok(made)
}
