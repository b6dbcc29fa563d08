//! Making a fork, in one transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use agentcore::Message;
use anyhow::Context as _;
use dbutil::TenantTx;
use shared_models::{AgentStatus, RunId, RunMode, UserId};

use super::edits::{Edits, Given, Point};
use super::source::Source;
use super::{Dry, Fork, Made, Unmatched, prefix};
use crate::app::App;
use crate::create::{self, NewRun, Opening};
use crate::error::Error;
use crate::hooks::Hook;
use crate::record::{ContentRef, Record};
use crate::replay;
use crate::snapshot::{self, RunSnapshot};
use crate::store::run_link::{self, Link};
use crate::store::{content, fork, run};
use crate::visibility::Viewer;

/// How a run is forked.
pub(crate) struct Asked {
    pub(crate) from: Point,
    pub(crate) edits: Edits,
    /// The edited input.
    pub(crate) input: Option<Message>,
    pub(crate) mode: RunMode,
    pub(crate) unmatched: Unmatched,
    pub(crate) deadline: Option<Duration>,
}

/// Makes a run that goes on from where another one stood; gives it, and the last record that stands.
pub(crate) async fn make(
    app: &App,
    tx: &mut TenantTx,
    (viewer, initiator): (&Viewer, UserId),
    row: &run::Row,
    asked: &Asked,
) -> Result<(RunId, i64), Error> {
    if row.evaluation_id.is_some() && asked.mode.is_live() {
        return Err(Error::RunNotForkable("it is an evaluation's, and is forked dry only"));
    }
    let source = Source::read(tx, row).await?;
    let seq = source.cut(asked.from)?;
    let given = Given::resolve(&source, seq, asked.mode, &asked.edits.tool_results)?;
    let now = agent(tx, viewer, row, asked.edits.agent_version).await?;
    let (reference, input) = told(tx, row, &source, asked.input.as_ref()).await?;
    let new = NewRun {
        run: RunId::mint(),
        principal: now.owner,
        initiator: Some(initiator),
        firing: None,
        input,
        traceparent: servicekit::trace::outgoing(),
        deadline: asked.deadline,
        end_user: row.end_user_id.clone(),
        place: None,
        variables: source.snapshot.variables.clone(),
        evaluation: None,
    };
    let mut snapshot = changed(tx, &source.snapshot, &now, (&new, asked)).await?;
    snapshot.check_models(&app.models)?;
    let dry = (!asked.mode.is_live()).then(|| Dry {
        unmatched: asked.unmatched,
        callable: callable(&snapshot, &now),
        calls: calls(&source, &given),
    });
    snapshot.fork = Some(Box::new(Fork { summary: source.summary.clone(), dry }));
    let same_hooks = asked.edits.agent_version.is_none() && snapshot.hooks == source.snapshot.hooks;
    let copies = prefix::copies(&source, seq, &given, same_hooks);
    let records = records(row.run_id, seq, asked, copies);
    let opening = Opening { input: reference, is_edited: asked.input.is_some(), mode: asked.mode };
    create::create_fork(tx, &app.runs, (&new, &snapshot), &opening, &records).await?;
    for (reference, body) in given.bodies() {
        fork::say(tx, new.run, reference, body).await?;
    }
    run_link::insert(tx, new.run, row.run_id, Link::Fork { seq }).await?;
    fork::keep(tx, new.run, row.root_run_id).await?;
    // The last thing: whoever writes to the other run's row waits for us from here on.
    if !fork::mark(tx, row.root_run_id).await? {
        return Err(Error::RunPruned(row.run_id));
    }
    Ok((new.run, seq))
}

/// The agent as a run would start with it now, if the caller may see it and it may run.
async fn agent(
    tx: &mut TenantTx,
    viewer: &Viewer,
    row: &run::Row,
    version: Option<i32>,
) -> Result<RunSnapshot, Error> {
    let found = snapshot::build(tx, row.agent_id, version).await?;
    let missing = || version.map_or(Error::AgentNotFound(row.agent_id), Error::VersionNotFound);
    let found = found.ok_or_else(missing)?;
    if !viewer.sees(found.scope, found.owner, found.team_id) {
        return Err(Error::AgentNotFound(row.agent_id));
    }
    if found.status != AgentStatus::Active {
        return Err(Error::AgentNotActive(found.status.to_string()));
    }
    Ok(found)
}

/// What the run is told first, and how the journal refers to it.
async fn told(
    tx: &mut TenantTx,
    row: &run::Row,
    source: &Source,
    edited: Option<&Message>,
) -> Result<(ContentRef, Message), Error> {
    if let Some(message) = edited {
        let body = serde_json::to_vec(message).map_err(anyhow::Error::from)?;
        return Ok((ContentRef::of(&body), message.clone()));
    }
    let pruned = || Error::RunPruned(row.run_id);
    let reference = prefix::input(source).ok_or_else(pruned)?;
    let mut bodies = content::find(tx, row.root_run_id, &[reference]).await?;
    let body = bodies.remove(&reference).ok_or_else(pruned)?;
    Ok((reference, serde_json::from_slice(&body).context("the run's input")?))
}

/// The agent that goes on: as the other run had it, or in another version, with what is edited.
async fn changed(
    tx: &mut TenantTx,
    source: &RunSnapshot,
    now: &RunSnapshot,
    (new, asked): (&NewRun, &Asked),
) -> Result<RunSnapshot, Error> {
    let edits = &asked.edits;
    let mut agent = if edits.agent_version.is_some() {
        let (variables, history) = (source.variables.clone(), source.history.clone());
        RunSnapshot { variables, history, ..now.clone() }
    } else {
        as_it_was(source, now, asked.mode)
    };
    if let Some(model) = &edits.model {
        agent.model.clone_from(model);
    }
    // A live run uses the credential that the agent has today, and a dry one asks its models, too.
    if edits.model.is_some() || edits.agent_version.is_none() {
        agent.model_credential = now.model_credential;
        let names = std::iter::once(&agent.model).chain(&agent.fallback_model);
        let bound = snapshot::bind(tx, names, agent.model_credential).await?;
        agent.models = bound.map_err(Error::ModelUnavailable)?;
        agent.unavailable = None;
    }
    if let Some(instructions) = &edits.instructions {
        agent.instructions.clone_from(instructions);
    }
    // What the other run was started with is filled in already, and is no template any more.
    let is_template = edits.agent_version.is_some() || edits.instructions.is_some();
    let filled = if is_template { agent.filled(new)? } else { None };
    Ok(filled.unwrap_or(agent))
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

fn calls(source: &Source, given: &Given) -> Vec<Made> {
    let calls = source.calls().into_iter().map(|made| {
        let edited = given.get(made.path, &made.call.id);
        Made {
            path: made.path.to_owned(),
            call_id: made.call.id.clone(),
            tool_name: made.call.name.clone(),
            arguments: replay::hash(&made.call.arguments),
            answer: edited.map(|result| result.message).or(made.answered.map(|(_, answer)| answer)),
            edited: edited.is_some(),
        }
    });
    calls.collect()
}

/// What stands in the journal behind the input.
fn records(
    of_run_id: RunId,
    seq: i64,
    asked: &Asked,
    copies: Vec<(String, Record)>,
) -> Vec<(String, Record)> {
    let forked = Record::Forked {
        of_run_id,
        seq,
        mode: asked.mode,
        unmatched: (!asked.mode.is_live()).then_some(asked.unmatched),
        edits: asked.edits.names(),
        copied: copies.len(),
    };
    std::iter::once((String::new(), forked)).chain(copies).collect()
}
