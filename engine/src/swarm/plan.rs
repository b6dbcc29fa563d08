//! A swarm as a run would start it now: its plan, and every agent in it.
//!
//! Everything it is made of is read first, in one transaction; then it is put together without asking anybody.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use agentcore::swarm::{Plan, SwarmPlan};
use dbutil::TenantTx;
use servicekit::FieldError;
use shared_models::{AgentId, AgentScope, AgentStatus, SwarmId, TeamId, ToolId, UserId};

use super::grow::{self, Members};
use super::{Defaults, MemberFields};
use crate::definition::{Budget, Limits, default_model};
use crate::error::Error;
use crate::models::Bound;
use crate::snapshot::{self, RunSnapshot, SnapshotTool, SwarmSnapshot};
use crate::store::{self, swarm::Swarm, swarm_version};
use crate::swarm::SwarmFields;
use crate::visibility::Viewer;

/// What a swarm is made of, at whatever depth.
#[derive(Default)]
struct Found {
    swarms: HashMap<SwarmId, Swarm>,
    /// With what each is for.
    agents: HashMap<AgentId, (RunSnapshot, String)>,
    /// What the default models stand for, or why they are not enabled.
    models: HashMap<String, Result<Bound, String>>,
    tools: HashMap<ToolId, SnapshotTool>,
}

/// Agents in place of those of a swarm, by their places among them: the same ones in other versions.
pub(crate) type Instead = BTreeMap<usize, RunSnapshot>;

/// The swarm as a run would start with it now; none when there is no such swarm. Refused when somebody in it is missing,
/// does not run, or belongs to somebody else.
pub(crate) async fn build(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
) -> Result<Option<RunSnapshot>, Error> {
    build_in(tx, swarm_id, None, &Instead::new()).await
}

/// The same in one of its versions, with some of its agents in other ones. Name, owner and status are always those of now, and
/// so are the swarms within it.
pub(crate) async fn build_in(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
    version: Option<i32>,
    instead: &Instead,
) -> Result<Option<RunSnapshot>, Error> {
    let Some(mut top) = store::swarm::find(tx, swarm_id).await? else { return Ok(None) };
    if let Some(version) = version.filter(|version| *version != top.version) {
        let then = swarm_version::find(tx, swarm_id, version).await?;
        let then = then.ok_or(Error::SwarmVersionNotFound(version))?.fields;
        let SwarmFields { name, scope, team_id, status, .. } = top.fields;
        top.fields = SwarmFields { name, scope, team_id, status, ..then };
        top.version = version;
    }
    let found = Found::gather(tx, &top).await?;
    let around = vec![&top];
    let mut builder = Builder { found: &found, instead, around, agents: Vec::new() };
    let plan = grow::swarm(&top.fields, &top.fields.name, &mut builder)?;
    let agents = builder.agents;
    plan.check().map_err(|error| Error::SwarmNotRunnable(error.to_string()))?;
    check_tools(&plan, &agents)?;
    let Some(first) = agents.first().cloned() else {
        return Err(Error::SwarmNotRunnable("nobody works in it".into()));
    };
    let Swarm { owner, version, fields, .. } = top;
    let limits = Limits { deadline_seconds: fields.deadline_seconds, max_concurrent_runs: None };
    let name = fields.name;
    let swarm = SwarmSnapshot { swarm_id, version, name, plan, members: agents };
    Ok(Some(RunSnapshot {
        owner,
        scope: fields.scope,
        team_id: fields.team_id,
        status: fields.status,
        limits,
        // Its members have those of their agents.
        budget: Budget::default(),
        instructions: String::new(),
        output_schema: None,
        models: Vec::new(),
        tools: Vec::new(),
        swarm: Some(Box::new(swarm)),
        ..first
    }))
}

/// The same for somebody who wants a run of it: refused when they may not see it, or when it does not run.
pub(crate) async fn for_viewer(
    tx: &mut TenantTx,
    viewer: &Viewer,
    swarm_id: SwarmId,
    version: Option<i32>,
) -> Result<RunSnapshot, Error> {
    let found = store::swarm::find_visible(tx, viewer, swarm_id).await?;
    if found.fields.status != AgentStatus::Active {
        return Err(Error::SwarmNotActive(found.fields.status.to_string()));
    }
    let built = build_in(tx, swarm_id, version, &Instead::new()).await?;
    built.ok_or(Error::SwarmNotFound(swarm_id))
}

impl Found {
    async fn gather(tx: &mut TenantTx, top: &Swarm) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut open = VecDeque::from([top.clone()]);
        while let Some(swarm) = open.pop_front() {
            if found.swarms.contains_key(&swarm.swarm_id) {
                continue;
            }
            for (_, member) in swarm.fields.everybody() {
                if let MemberFields::Agent { agent_id, .. } = member {
                    found.look_up(tx, *agent_id, member.name()).await?;
                }
            }
            found.look_up_defaults(tx, &swarm.fields.defaults).await?;
            for nested in swarm.fields.nested() {
                let nested = store::swarm::find(tx, nested).await?;
                let gone = || Error::SwarmNotRunnable("a swarm in it is gone".into());
                open.push_back(nested.ok_or_else(gone)?);
            }
            // A parent that is gone has nothing to say any more.
            if let Some(parent) = swarm.fields.parent_swarm_id {
                open.extend(store::swarm::find(tx, parent).await?);
            }
            found.swarms.insert(swarm.swarm_id, swarm);
        }
        Ok(found)
    }

    async fn look_up(&mut self, tx: &mut TenantTx, id: AgentId, name: &str) -> Result<(), Error> {
        if self.agents.contains_key(&id) {
            return Ok(());
        }
        let gone = || Error::SwarmNotRunnable(format!("its member `{name}` is gone"));
        let agent = store::agent::find(tx, id).await?.ok_or_else(gone)?;
        let snapshot = snapshot::build(tx, id, None).await?.ok_or_else(gone)?;
        self.agents.insert(id, (snapshot, agent.fields.description));
        Ok(())
    }

    async fn look_up_defaults(
        &mut self,
        tx: &mut TenantTx,
        defaults: &Defaults,
    ) -> Result<(), Error> {
        for name in defaults.model.iter().chain(&defaults.fallback_model) {
            let bound = snapshot::bind(tx, std::iter::once(name), None).await?;
            if let Some(bound) = bound.map(|mut bound| bound.pop()).transpose() {
                self.models.insert(name.clone(), bound);
            }
        }
        for tool in &defaults.tools {
            // One that was deleted is no longer anybody's.
            match store::tool::find(tx, *tool).await {
                Ok(found) => {
                    self.tools.insert(*tool, store::agent_tool::bare(&found)?);
                }
                Err(Error::ToolNotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What a swarm's agents inherit, the nearest first: of itself, of its parents, and of the swarms around it.
    fn defaults<'a>(&'a self, around: &[&'a Swarm]) -> Vec<&'a Defaults> {
        let mut seen = BTreeSet::new();
        let mut chain = Vec::new();
        for swarm in around.iter().rev() {
            let mut next = Some(*swarm);
            while let Some(swarm) = next.filter(|swarm| seen.insert(swarm.swarm_id)) {
                chain.push(&swarm.fields.defaults);
                next = swarm.fields.parent_swarm_id.and_then(|parent| self.swarms.get(&parent));
            }
        }
        chain
    }

    fn inherit(&self, agent: &mut RunSnapshot, chain: &[&Defaults]) {
        let own = agent.model != default_model() || agent.model_credential.is_some();
        if let Some(model) = chain.iter().find_map(|of| of.model.as_ref()).filter(|_| !own) {
            agent.models.retain(|bound| agent.fallback_model.as_ref() == Some(&bound.name));
            agent.model.clone_from(model);
            agent.unavailable = None;
            self.use_model(agent, model);
        }
        if agent.fallback_model.is_none()
            && let Some(model) = chain.iter().find_map(|of| of.fallback_model.as_ref())
        {
            agent.fallback_model = Some(model.clone());
            self.use_model(agent, model);
        }
        agent.max_tokens = agent.max_tokens.or_else(|| chain.iter().find_map(|of| of.max_tokens));
        if let Some(text) = chain.iter().find_map(|of| of.instructions.as_ref()) {
            let both = format!("{text}\n\n{}", agent.instructions);
            both.trim_end().clone_into(&mut agent.instructions);
        }
        for tool in chain.iter().flat_map(|of| &of.tools).filter_map(|id| self.tools.get(id)) {
            if agent.tools.iter().all(|own| own.name != tool.name) {
                agent.tools.push(tool.clone());
            }
        }
    }

    fn use_model(&self, agent: &mut RunSnapshot, model: &str) {
        match self.models.get(model) {
            Some(Ok(bound)) => agent.models.push(bound.clone()),
            Some(Err(why)) => agent.unavailable = Some(why.clone()),
            None => {}
        }
    }
}

/// Puts the plan together; the agents are in its order.
struct Builder<'a> {
    found: &'a Found,
    instead: &'a Instead,
    /// The swarms around the place at hand, the outermost first.
    around: Vec<&'a Swarm>,
    agents: Vec<RunSnapshot>,
}

impl Builder<'_> {
    /// A swarm works in its owner's name, with what that person could run.
    fn check(
        &self,
        what: &str,
        status: AgentStatus,
        (scope, owner, team): (AgentScope, UserId, Option<TeamId>),
    ) -> Result<(), Error> {
        if status != AgentStatus::Active {
            return Err(Error::SwarmNotRunnable(format!("its member `{what}` is {status}")));
        }
        let Some(swarm) = self.around.last() else { return Ok(()) };
        let shared = scope == AgentScope::Team && team.is_some();
        if shared || owner == swarm.owner {
            return Ok(());
        }
        Err(Error::SwarmNotRunnable(format!("its member `{what}` belongs to somebody else")))
    }
}

impl Members<Error> for Builder<'_> {
    fn agent(&mut self, agent: Option<AgentId>, name: &str) -> Result<String, Error> {
        let known = agent.and_then(|id| self.found.agents.get(&id));
        let gone = || Error::SwarmNotRunnable(format!("its member `{name}` is gone"));
        let (mut agent, description) = known.cloned().ok_or_else(gone)?;
        if let Some(other) = self.instead.get(&self.agents.len()) {
            agent.clone_from(other);
        }
        self.check(name, agent.status, (agent.scope, agent.owner, agent.team_id))?;
        self.found.inherit(&mut agent, &self.found.defaults(&self.around));
        self.agents.push(agent);
        Ok(description)
    }

    fn swarm(&mut self, swarm: SwarmId, name: &str) -> Result<Plan, Error> {
        let gone = || Error::SwarmNotRunnable(format!("its member `{name}` is gone"));
        let nested = self.found.swarms.get(&swarm).ok_or_else(gone)?;
        if self.around.len() > Plan::DEEPEST {
            let why = format!("swarms within swarms go {} deep at most", Plan::DEEPEST);
            return Err(Error::SwarmNotRunnable(why));
        }
        let fields = &nested.fields;
        self.check(name, fields.status, (fields.scope, nested.owner, fields.team_id))?;
        self.around.push(nested);
        let plan = grow::swarm(fields, name, self);
        self.around.pop();
        plan
    }
}

/// A definition was checked when it was saved; what has changed since is nobody's field.
impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        Self::SwarmNotRunnable(format!("{}: {}", error.pointer, error.message))
    }
}

/// No tool of an agent's own may have the name of one that its place in the swarm gives it.
fn check_tools(plan: &Plan, agents: &[RunSnapshot]) -> Result<(), Error> {
    for ((member, within), agent) in plan.agents().into_iter().zip(agents) {
        let given = within.map(|swarm: &SwarmPlan| swarm.tools_for(&member.name));
        for given in given.unwrap_or_default() {
            if agent.tools.iter().any(|own| own.name == given.name) {
                let (name, tool) = (&member.name, given.name);
                return Err(Error::SwarmNotRunnable(format!(
                    "its member `{name}` has a tool `{tool}` of its own, which the swarm needs for itself"
                )));
            }
        }
    }
    Ok(())
}
