//! What people write down about a swarm, and what of it is refused.

mod check;
mod grow;
pub(crate) mod members;
pub(crate) mod plan;

use serde::{Deserialize, Serialize};
use shared_models::{AgentId, AgentScope, AgentStatus, SwarmId, SwarmMode, TeamId, ToolId};
use utoipa::ToSchema;

use crate::definition::AgentFields;

/// A swarm as it can be edited. A patch is merged into this form and read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "newsroom", "mode": "workflow", "flow": "research >> (facts | style)", "members": [
    { "kind": "agent", "agent_id": "agt_0190c0de00007000800000000000000a", "name": "research" },
    { "kind": "agent", "agent_id": "agt_0190c0de00007000800000000000000b", "name": "facts" },
    { "kind": "new_agent", "name": "style", "agent": { "name": "style", "model": "openai:gpt-4o" } }] }))]
pub(crate) struct SwarmFields {
    /// Unique in the tenant.
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// What people read.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub(crate) title: String,
    /// Tells those who may pass work on what it is for.
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub(crate) description: String,
    #[serde(default = "workflow")]
    pub(crate) mode: SwarmMode,
    /// In the mode `workflow`: who works after whom, as in `a >> b >> (c | d) >> e`. All in the order of the list unless
    /// said.
    #[serde(default)]
    #[schema(max_length = 8192)]
    pub(crate) flow: Option<String>,
    /// In the mode `team` the first one leads, in the mode `handoff` it begins.
    #[schema(min_items = 1, max_items = 64)]
    pub(crate) members: Vec<MemberFields>,
    /// In the mode `handoff`: control moving more often is an error.
    #[serde(default = "ten")]
    #[schema(maximum = 1000)]
    pub(crate) max_handoffs: u32,
    /// Model replies of all members together; then no further call of a model begins.
    #[serde(default = "two_hundred")]
    #[schema(minimum = 1, maximum = 10000)]
    pub(crate) max_steps: u32,
    /// In the mode `workflow`: between outputs of members that worked at the same time.
    #[serde(default = "paragraph")]
    #[schema(max_length = 1024)]
    pub(crate) separator: String,
    #[serde(default)]
    pub(crate) defaults: Defaults,
    /// The swarm above: what this one's defaults do not say, that one's do.
    #[serde(default)]
    pub(crate) parent_swarm_id: Option<SwarmId>,
    #[serde(default = "user")]
    pub(crate) scope: AgentScope,
    /// For the scope `team`; your first team unless you say which.
    #[serde(default)]
    pub(crate) team_id: Option<TeamId>,
    /// Only active swarms run.
    #[serde(default = "active")]
    pub(crate) status: AgentStatus,
    /// How long a run may take.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2_678_400)]
    pub(crate) deadline_seconds: Option<u32>,
}

/// What the agents of a swarm have in common, at whatever depth: the nearest swarm that says something counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Defaults {
    /// The model of agents that have none of their own: those with `openai:gpt-4o`, which is what an agent has of which
    /// nobody has said anything, and without a credential for it.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// For agents without one.
    #[serde(default)]
    pub(crate) fallback_model: Option<String>,
    /// The most tokens of one reply, for agents that have no such limit.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) max_tokens: Option<u32>,
    /// Said before the instructions of each agent.
    #[serde(default)]
    #[schema(max_length = 65536)]
    pub(crate) instructions: Option<String>,
    /// Tools that each agent has beside its own; those of all swarms around it add up. None that needs a credential.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub(crate) tools: Vec<ToolId>,
}

/// Who works in a swarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum MemberFields {
    Agent {
        agent_id: AgentId,
        /// What it is called here; the agent's own name unless said.
        #[serde(default)]
        name: Option<String>,
        /// In the mode `handoff`: the members it may hand over to.
        #[serde(default)]
        handoffs: Vec<String>,
    },
    /// An agent that is made with the swarm, and can be deleted with it. Kept as an `agent`.
    NewAgent {
        agent: Box<AgentFields>,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        handoffs: Vec<String>,
    },
    /// Members that work at the same time on the same input; their outputs are joined.
    Parallel {
        name: String,
        #[schema(no_recursion)]
        members: Vec<MemberFields>,
        /// An empty line unless said.
        #[serde(default = "paragraph")]
        separator: String,
    },
    /// Members that work one after the other.
    Serial {
        name: String,
        #[schema(no_recursion)]
        members: Vec<MemberFields>,
    },
    /// Another swarm, with conversations of its own: only text goes in and out.
    Swarm {
        swarm_id: SwarmId,
        /// What it is called here; its own name unless said.
        #[serde(default)]
        name: Option<String>,
    },
}

impl MemberFields {
    /// Empty as long as nobody has looked it up.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Parallel { name, .. } | Self::Serial { name, .. } => name,
            Self::NewAgent { agent, name, .. } => name.as_deref().unwrap_or(&agent.name),
            Self::Agent { name, .. } | Self::Swarm { name, .. } => {
                name.as_deref().unwrap_or_default()
            }
        }
    }

    /// Those in a group.
    pub(crate) fn below(&self) -> &[MemberFields] {
        match self {
            Self::Parallel { members, .. } | Self::Serial { members, .. } => members,
            Self::Agent { .. } | Self::NewAgent { .. } | Self::Swarm { .. } => &[],
        }
    }
}

impl SwarmFields {
    /// Every member, those in groups included, each with where it stands in the document.
    pub(crate) fn everybody(&self) -> Vec<(String, &MemberFields)> {
        fn walk<'a>(
            at: &str,
            members: &'a [MemberFields],
            found: &mut Vec<(String, &'a MemberFields)>,
        ) {
            for (index, member) in members.iter().enumerate() {
                let at = format!("{at}/members/{index}");
                found.push((at.clone(), member));
                walk(&at, member.below(), found);
            }
        }
        let mut found = Vec::new();
        walk("", &self.members, &mut found);
        found
    }

    /// The swarms that are members.
    pub(crate) fn nested(&self) -> Vec<SwarmId> {
        let ids = self.everybody().into_iter().filter_map(|(_, member)| match member {
            MemberFields::Swarm { swarm_id, .. } => Some(*swarm_id),
            _ => None,
        });
        let mut ids: Vec<SwarmId> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

fn workflow() -> SwarmMode {
    SwarmMode::Workflow
}

fn user() -> AgentScope {
    AgentScope::User
}

fn active() -> AgentStatus {
    AgentStatus::Active
}

fn ten() -> u32 {
    10
}

fn two_hundred() -> u32 {
    200
}

fn paragraph() -> String {
    agentcore::Swarm::SEPARATOR.to_owned()
}
