//! What a fork starts with: what the other run had, with what is edited.

use std::collections::{BTreeSet, HashMap};

use agentcore::swarm::Path;
use anyhow::Context as _;
use dbutil::TenantTx;
use shared_models::RunMode;

use super::edits::AgentEdits;
use super::make::Asked;
use super::{Dry, Fork, Made};
use crate::call_key;
use crate::create::NewRun;
use crate::error::Error;
use crate::hooks::Hook;
use crate::models::Bound;
use crate::snapshot::{self, RunSnapshot, SwarmSnapshot};

/// What is known of both.
pub(super) struct Change<'a> {
    /// What the other run was started with.
    pub(super) source: &'a RunSnapshot,
    /// What a run would start with now; of a swarm with its agents in the order of the plan that goes on.
    pub(super) now: &'a RunSnapshot,
    pub(super) new: &'a NewRun,
    pub(super) asked: &'a Asked,
}

impl Change<'_> {
    /// The agent that goes on.
    pub(super) async fn agent(&self, tx: &mut TenantTx) -> Result<RunSnapshot, Error> {
        let both = (self.source, self.now);
        let mut agent = self.one(tx, both, self.asked.edits.agent(), false).await?;
        agent.bind_as(self.source);
        Ok(agent)
    }

    /// The swarm that goes on: by the plan of the other run, or by that of another version.
    pub(super) async fn swarm(
        &self,
        tx: &mut TenantTx,
        was: &SwarmSnapshot,
    ) -> Result<RunSnapshot, Error> {
        let now = self.now.swarm.as_ref().context("a swarm that is none now")?;
        let renewed = self.asked.edits.swarm_version.is_some();
        let (before, was) = (was, if renewed { now } else { was });
        let mut swarm =
            SwarmSnapshot { members: Vec::with_capacity(was.members.len()), ..was.clone() };
        for (place, (was, now)) in was.members.iter().zip(&now.members).enumerate() {
            let edits = self.edits_at(&swarm, place);
            let mut member = self.one(tx, (was, now), edits, renewed).await?;
            // Another version may have it at another place.
            let same = before.members.iter().filter(|one| one.agent_id == now.agent_id);
            if renewed {
                same.for_each(|then| member.bind_as(then));
            } else {
                member.bind_as(was);
            }
            // They are the run's.
            member.variables.clear();
            swarm.members.push(member);
        }
        let first = swarm.members.first().cloned().context("nobody works in the swarm")?;
        let top = if renewed { self.now } else { self.source };
        Ok(RunSnapshot {
            owner: self.now.owner,
            scope: self.now.scope,
            team_id: self.now.team_id,
            status: self.now.status,
            limits: top.limits.clone(),
            budget: self.source.budget.tighter(&self.now.budget),
            instructions: String::new(),
            variables: self.source.variables.clone(),
            history: self.source.history.clone(),
            output_schema: None,
            models: Vec::new(),
            tools: Vec::new(),
            swarm: Some(Box::new(swarm)),
            ..first
        })
    }

    /// What is different of the agent at this place of a plan.
    fn edits_at(&self, swarm: &SwarmSnapshot, place: usize) -> AgentEdits<'_> {
        let is_there = |path: &[String]| {
            SwarmSnapshot::place(&swarm.plan, &path.iter().cloned().collect()) == Some(place)
        };
        let mut members = self.asked.edits.members.iter();
        members
            .find(|member| is_there(&member.path))
            .map(|member| member.agent())
            .unwrap_or_default()
    }

    /// An agent as the other run had it, or in another version, with what is edited. What the other run was started with is
    /// filled in already, and is no template any more.
    async fn one(
        &self,
        tx: &mut TenantTx,
        (source, now): (&RunSnapshot, &RunSnapshot),
        edits: AgentEdits<'_>,
        is_template: bool,
    ) -> Result<RunSnapshot, Error> {
        let mut agent = if edits.version.is_some() {
            let (variables, history) = (source.variables.clone(), source.history.clone());
            RunSnapshot { variables, history, ..now.clone() }
        } else {
            as_it_was(source, now, self.asked.mode)
        };
        if let Some(model) = edits.model {
            agent.model.clone_from(model);
        }
        // A live run uses the credential that the agent has today, and a dry one asks its models, too.
        if edits.model.is_some() || edits.version.is_none() {
            agent.model_credential = now.model_credential;
            agent.models = bound(tx, &agent, (source, now)).await?;
            agent.unavailable = None;
        }
        if let Some(instructions) = edits.instructions {
            agent.instructions.clone_from(instructions);
        }
        let is_template = is_template || edits.version.is_some() || edits.instructions.is_some();
        let filled = if is_template { agent.filled(self.new)? } else { None };
        Ok(filled.unwrap_or(agent))
    }

    /// Whether whoever works at a path of the fork has the hooks that they had in the other run.
    pub(super) fn keeps_hooks(&self, made: &RunSnapshot, path: &str) -> bool {
        let edits = &self.asked.edits;
        if edits.agent_version.is_some() || edits.swarm_version.is_some() {
            return false;
        }
        let (Some(was), Some(swarm)) = (&self.source.swarm, &made.swarm) else {
            return made.hooks == self.source.hooks;
        };
        let path: Path = call_key::names(path).into_iter().collect();
        let Some(place) = SwarmSnapshot::place(&was.plan, &path) else { return false };
        let hooks = |of: &SwarmSnapshot| of.members.get(place).map(|member| member.hooks.clone());
        self.edits_at(swarm, place).version.is_none() && hooks(was) == hooks(swarm)
    }

    /// Gives a dry run what its calls are answered with, each agent of a swarm what was called in its place.
    pub(super) fn give_answers(
        &self,
        made: &mut RunSnapshot,
        summary: Option<String>,
        calls: Option<Vec<Made>>,
    ) {
        let unmatched = self.asked.unmatched;
        let dry = |agent: &RunSnapshot, now: &RunSnapshot, calls: Vec<Made>| Dry {
            unmatched,
            callable: callable(agent, now),
            calls,
        };
        let (Some(swarm), Some(now)) = (&mut made.swarm, &self.now.swarm) else {
            let dry = calls.map(|calls| dry(made, self.now, calls));
            made.fork = Some(Box::new(Fork { summary, dry }));
            return;
        };
        if let Some(calls) = calls {
            let of_each = by_place(swarm, calls);
            for ((member, now), calls) in swarm.members.iter_mut().zip(&now.members).zip(of_each) {
                let dry = Some(dry(member, now, calls));
                member.fork = Some(Box::new(Fork { summary: None, dry }));
            }
        }
        made.fork = Some(Box::new(Fork { summary, dry: None }));
    }
}

/// What the names of its models stand for now. A model that a swarm gives its agents is not asked with the credential of one
/// of them, which may be another provider's.
async fn bound(
    tx: &mut TenantTx,
    agent: &RunSnapshot,
    (source, now): (&RunSnapshot, &RunSnapshot),
) -> Result<Vec<Bound>, Error> {
    let mut models = Vec::with_capacity(2);
    for name in std::iter::once(&agent.model).chain(&agent.fallback_model) {
        let is_it = |bound: &&Bound| bound.name == *name;
        if let Some(known) = now.models.iter().find(is_it) {
            models.push(known.clone());
            continue;
        }
        let was_without =
            source.models.iter().find(is_it).is_some_and(|bound| bound.credential.is_none());
        let own = agent.model_credential.filter(|_| !was_without);
        let found = snapshot::bind(tx, std::iter::once(name), own).await?;
        models.extend(found.map_err(Error::ModelUnavailable)?);
    }
    Ok(models)
}

/// The calls of each agent of a swarm. Those of somebody who is not in it are nobody's.
fn by_place(swarm: &SwarmSnapshot, calls: Vec<Made>) -> Vec<Vec<Made>> {
    let mut of_each = vec![Vec::new(); swarm.members.len()];
    let mut places = HashMap::new();
    for made in calls {
        let place = *places.entry(made.path.clone()).or_insert_with(|| {
            SwarmSnapshot::place(&swarm.plan, &call_key::names(&made.path).into_iter().collect())
        });
        if let Some(calls) = place.and_then(|place| of_each.get_mut(place)) {
            calls.push(made);
        }
    }
    of_each
}

/// Whose it is, who is asked and what it may use up is never a thing of the past. Nor are the tools that a live run calls.
fn as_it_was(source: &RunSnapshot, now: &RunSnapshot, mode: RunMode) -> RunSnapshot {
    let mut approvals = source.approvals.clone();
    approvals.extend(now.approvals.iter().filter(|rule| !source.approvals.contains(rule)).cloned());
    let tools = if mode.is_live() { &now.tools } else { &source.tools };
    let hooks = if mode.is_live() { hooks(source, now) } else { source.hooks.clone() };
    RunSnapshot {
        owner: now.owner,
        scope: now.scope,
        team_id: now.team_id,
        status: now.status,
        budget: source.budget.tighter(&now.budget),
        // It stands by itself, whomever the other run worked for.
        above: Vec::new(),
        approvals,
        tools: tools.clone(),
        hooks,
        replay: None,
        fork: None,
        ..source.clone()
    }
}

/// Those of today, and the rules that the other run had besides.
fn hooks(source: &RunSnapshot, now: &RunSnapshot) -> Vec<Hook> {
    let rules = source.hooks.iter().filter(|hook| hook.rule.is_some());
    now.hooks.iter().chain(rules.filter(|hook| !now.hooks.contains(hook))).cloned().collect()
}

/// The tools that a dry run may call when somebody says so. None when hooks would have to be told of it by HTTP: those of a
/// dry run are not. None either when the agent has a hook today that the run does not have.
fn callable(agent: &RunSnapshot, now: &RunSnapshot) -> BTreeSet<String> {
    let tells = agent.hooks.iter().any(|hook| hook.url.is_some());
    if tells || now.hooks.iter().any(|hook| !agent.hooks.contains(hook)) {
        return BTreeSet::new();
    }
    let same = agent.tools.iter().filter(|tool| now.tools.contains(tool));
    same.map(|tool| tool.name.clone()).collect()
}
