//! From what people write down to a plan that can be run.

use std::collections::HashSet;

use agentcore::Conversation;
use agentcore::swarm::{AgentPlan, Plan, SwarmPlan, Topology, Work};
use servicekit::FieldError;
use shared_models::flow::is_member_name;
use shared_models::{AgentId, Flow, SwarmId, SwarmMode};

use super::{MemberFields, SwarmFields, paragraph};

/// Knows the agents and swarms that a definition only names. A member that is just being made has no id.
pub(super) trait Members<E> {
    /// What the agent is for.
    fn agent(&mut self, agent: Option<AgentId>, name: &str) -> Result<String, E>;
    fn swarm(&mut self, swarm: SwarmId, name: &str) -> Result<Plan, E>;
}

/// A swarm's plan under a name; its conversations begin empty.
pub(super) fn swarm<E: From<FieldError>>(
    fields: &SwarmFields,
    name: &str,
    members: &mut impl Members<E>,
) -> Result<Plan, E> {
    let names = names("", &fields.members)?;
    let topology = match fields.mode {
        SwarmMode::Workflow => {
            Topology::Workflow { flow: flow(fields, &names)?, separator: fields.separator.clone() }
        }
        SwarmMode::Handoff => Topology::Handoff { max_handoffs: fields.max_handoffs },
        SwarmMode::Team => Topology::Team,
    };
    let grown = all("", &fields.members, members)?;
    let work = SwarmPlan { members: grown, topology, max_steps: fields.max_steps };
    Ok(Plan {
        name: name.to_owned(),
        description: fields.description.clone(),
        work: Work::Swarm(work),
    })
}

fn flow(fields: &SwarmFields, names: &[&str]) -> Result<Flow, FieldError> {
    let flow = match &fields.flow {
        Some(text) => Flow::parse_for(text, |name| names.contains(&name)),
        None => Flow::in_order(names.iter().copied()),
    };
    flow.map_err(|error| FieldError::new("/flow", error.to_string()))
}

/// The names of members that can be told apart.
fn names<'a>(at: &str, members: &'a [MemberFields]) -> Result<Vec<&'a str>, FieldError> {
    let mut seen = HashSet::new();
    let refuse =
        |index: usize, why: String| FieldError::new(format!("{at}/members/{index}/name"), why);
    for (index, member) in members.iter().enumerate() {
        let name = member.name();
        if !is_member_name(name) {
            let why = "say a name for it here, without `>`, `|`, `(`, `)`, `/`, `#`, control characters and outer spaces";
            return Err(refuse(index, why.into()));
        }
        if !seen.insert(name) {
            return Err(refuse(index, format!("another member is called `{name}`")));
        }
    }
    if members.is_empty() {
        return Err(FieldError::new(format!("{at}/members"), "at least one"));
    }
    Ok(members.iter().map(MemberFields::name).collect())
}

fn all<E: From<FieldError>>(
    at: &str,
    fields: &[MemberFields],
    members: &mut impl Members<E>,
) -> Result<Vec<Plan>, E> {
    let each = fields.iter().enumerate();
    each.map(|(index, field)| one(&format!("{at}/members/{index}"), field, members)).collect()
}

fn one<E: From<FieldError>>(
    at: &str,
    field: &MemberFields,
    members: &mut impl Members<E>,
) -> Result<Plan, E> {
    let name = field.name().to_owned();
    let (below, flow, separator) = match field {
        MemberFields::Agent { agent_id, handoffs, .. } => {
            return Ok(agent(members.agent(Some(*agent_id), &name)?, name, handoffs));
        }
        MemberFields::NewAgent { handoffs, .. } => {
            return Ok(agent(members.agent(None, &name)?, name, handoffs));
        }
        MemberFields::Swarm { swarm_id, .. } => return members.swarm(*swarm_id, &name),
        MemberFields::Parallel { members, separator, .. } => {
            (members, Flow::all_at_once(names(at, members)?), separator.clone())
        }
        MemberFields::Serial { members, .. } => {
            (members, Flow::in_order(names(at, members)?), paragraph())
        }
    };
    let flow = flow.map_err(|error| FieldError::new(format!("{at}/members"), error.to_string()))?;
    let topology = Topology::Workflow { flow, separator };
    let members = all(at, below, members)?;
    let work = SwarmPlan { members, topology, max_steps: SwarmPlan::DEFAULT_MAX_STEPS };
    Ok(Plan { name, description: String::new(), work: Work::Swarm(work) })
}

fn agent(description: String, name: String, handoffs: &[String]) -> Plan {
    let agent = AgentPlan { opening: Conversation::new(""), handoffs: handoffs.to_vec() };
    Plan { name, description, work: Work::Agent(Box::new(agent)) }
}
