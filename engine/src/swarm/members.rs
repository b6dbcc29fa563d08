//! Members as they are written down: names that nobody has said, agents that are made with the swarm.

use std::collections::HashMap;

use shared_models::{AgentId, SwarmId};

use super::{MemberFields, SwarmFields};
use crate::definition::AgentFields;

/// Fills in the names nobody has said: those of the agents and swarms themselves.
pub(crate) fn fill_names(
    members: &mut [MemberFields],
    agents: &HashMap<AgentId, String>,
    swarms: &HashMap<SwarmId, String>,
) {
    for member in members {
        match member {
            MemberFields::Agent { agent_id, name: name @ None, .. } => {
                *name = agents.get(agent_id).cloned();
            }
            MemberFields::Swarm { swarm_id, name: name @ None } => {
                *name = swarms.get(swarm_id).cloned();
            }
            MemberFields::Parallel { members, .. } | MemberFields::Serial { members, .. } => {
                fill_names(members, agents, swarms);
            }
            MemberFields::Agent { .. }
            | MemberFields::NewAgent { .. }
            | MemberFields::Swarm { .. } => {}
        }
    }
}

/// Puts the agents that were made in the place of their descriptions, in order.
pub(crate) fn settle_new(members: &mut [MemberFields], made: &mut impl Iterator<Item = AgentId>) {
    for member in members {
        match member {
            MemberFields::NewAgent { agent, name, handoffs } => {
                let Some(agent_id) = made.next() else { return };
                let name = Some(name.take().unwrap_or_else(|| agent.name.clone()));
                let handoffs = std::mem::take(handoffs);
                *member = MemberFields::Agent { agent_id, name, handoffs };
            }
            MemberFields::Parallel { members, .. } | MemberFields::Serial { members, .. } => {
                settle_new(members, made);
            }
            MemberFields::Agent { .. } | MemberFields::Swarm { .. } => {}
        }
    }
}

impl SwarmFields {
    /// The agents to be made with it, in order.
    pub(crate) fn new_agents(&self) -> Vec<AgentFields> {
        let new = self.everybody().into_iter().filter_map(|(_, member)| match member {
            MemberFields::NewAgent { agent, .. } => Some((**agent).clone()),
            _ => None,
        });
        new.collect()
    }
}
