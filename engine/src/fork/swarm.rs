//! What is looked up of a swarm before a run of it is forked, and looked at.

use std::collections::{BTreeSet, HashMap};

use agentcore::Message;
use agentcore::swarm::{Path, Plan, Work};
use anyhow::Context as _;
use dbutil::TenantTx;
use servicekit::FieldError;
use shared_models::AgentId;

use super::edits::Edits;
use super::given::Given;
use crate::call_key;
use crate::error::Error;
use crate::record::{ContentRef, Record};
use crate::snapshot::{self, RunSnapshot, SwarmSnapshot};
use crate::store::{content, run};
use crate::swarm::plan::{self, Instead};
use crate::transcript::{self, Transcript};
use crate::visibility::Viewer;

/// The swarm as a run would start with it now, in the version that the other run had or in the one that is asked for; its
/// agents are in the order of the plan that goes on.
pub(super) async fn now(
    tx: &mut TenantTx,
    viewer: &Viewer,
    was: &SwarmSnapshot,
    edits: &Edits,
) -> Result<RunSnapshot, Error> {
    let version = Some(edits.swarm_version.unwrap_or(was.version));
    let mut now = plan::for_viewer(tx, viewer, was.swarm_id, version).await?;
    let renewed = edits.swarm_version.is_some();
    let order = {
        let now = of(&now)?;
        if renewed { (0..now.members.len()).collect() } else { order(was, now)? }
    };
    let instead = {
        let now = of(&now)?;
        let plan = if renewed { &now.plan } else { &was.plan };
        others(tx, viewer, (plan, now, &order), edits).await?
    };
    if !instead.is_empty() {
        let built = plan::build_in(tx, was.swarm_id, version, &instead).await?;
        now = built.ok_or(Error::SwarmNotFound(was.swarm_id))?;
    }
    let swarm = now.swarm.as_mut().context("a swarm without a plan")?;
    swarm.members = order.iter().filter_map(|place| swarm.members.get(*place).cloned()).collect();
    Ok(now)
}

fn of(snapshot: &RunSnapshot) -> Result<&SwarmSnapshot, Error> {
    Ok(snapshot.swarm.as_deref().context("a swarm without a plan")?)
}

/// Where the agents of the other run are in the swarm of today.
fn order(was: &SwarmSnapshot, now: &SwarmSnapshot) -> Result<Vec<usize>, Error> {
    let today = places(&now.plan);
    let place = |(place, agent): (&String, &RunSnapshot)| {
        let mut found = today.iter().zip(&now.members);
        let same =
            found.position(|(other, found)| other == place && found.agent_id == agent.agent_id);
        same.ok_or_else(|| {
            Error::SwarmNotRunnable(format!("its member `{place}` no longer works there"))
        })
    };
    places(&was.plan).iter().zip(&was.members).map(place).collect()
}

/// The names of a plan's agents, with those of the groups and swarms that they are in.
fn places(plan: &Plan) -> Vec<String> {
    fn walk(plan: &Plan, at: &str, found: &mut Vec<String>) {
        let Work::Swarm(swarm) = &plan.work else { return found.push(at.to_owned()) };
        for member in &swarm.members {
            let below =
                if at.is_empty() { member.name.clone() } else { format!("{at}/{}", member.name) };
            walk(member, &below, found);
        }
    }
    let mut found = Vec::new();
    walk(plan, "", &mut found);
    found
}

/// The agents that are to be had in other versions, by their places in the swarm of today. Looks at who is named.
async fn others(
    tx: &mut TenantTx,
    viewer: &Viewer,
    (plan, now, order): (&Plan, &SwarmSnapshot, &[usize]),
    edits: &Edits,
) -> Result<Instead, Error> {
    let (mut errors, mut taken, mut others) = (Vec::new(), BTreeSet::new(), Vec::new());
    for (n, member) in edits.members.iter().enumerate() {
        let mut refuse = |why: &str| {
            errors.push(FieldError::new(format!("/edits/members/{n}/path"), why));
        };
        let place = SwarmSnapshot::place(plan, &member.path.iter().cloned().collect());
        let found = place.and_then(|place| order.get(place)).copied();
        let Some((place, agent)) = found.and_then(|place| Some((place, now.members.get(place)?)))
        else {
            refuse("no agent works at this path");
            continue;
        };
        // The swarm's owner may have it work for people who may not see it, but as it is.
        if !viewer.sees(agent.scope, agent.owner, agent.team_id) {
            refuse(NOT_SEEN);
        }
        if !taken.insert(place) {
            refuse("the member is named twice");
        }
        others.extend(member.agent_version.map(|version| (place, agent.agent_id, version)));
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let mut instead = Instead::new();
    for (place, agent, version) in others {
        let found = snapshot::build(tx, agent, Some(version)).await?;
        instead.insert(place, found.ok_or(Error::VersionNotFound(version))?);
    }
    Ok(instead)
}

/// Refuses results for agents that the viewer may not see: what they are told is their owner's safeguard.
pub(super) fn check_given(
    viewer: &Viewer,
    made: &SwarmSnapshot,
    given: &Given,
) -> Result<(), Error> {
    let mut errors = Vec::new();
    for (place, path) in given.paths.iter().enumerate() {
        let told = made.agent_at(&made.plan, &at(path));
        if told.is_some_and(|agent| !viewer.sees(agent.scope, agent.owner, agent.team_id)) {
            let pointer = format!("/edits/tool_results/{place}/call_id");
            errors.push(FieldError::new(pointer, NOT_SEEN));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

const NOT_SEEN: &str = "its agent is not yours to see";

/// What is said in the fork before it begins.
pub(super) struct Said<'a> {
    pub(super) input: (ContentRef, &'a Message),
    pub(super) copies: &'a [(String, Record)],
    pub(super) given: &'a Given,
}

/// Refuses what a swarm cannot go on from: another version of it that would not have come that way, and a result for
/// somebody who waits for none.
pub(super) async fn check_way(
    tx: &mut TenantTx,
    row: &run::Row,
    (source, made): (&RunSnapshot, &RunSnapshot),
    edits: &Edits,
    said: &Said<'_>,
) -> Result<(), Error> {
    let renewed = edits.swarm_version.is_some();
    if !renewed && said.given.fresh().next().is_none() {
        return Ok(());
    }
    let messages = said.messages(tx, row).await?;
    let told = transcript::fold(made, &said.records(), &messages)?;
    if renewed {
        let before = transcript::fold(source, &said.records(), &messages)?;
        let paths: BTreeSet<&String> = said.copies.iter().map(|(path, _)| path).collect();
        for path in paths {
            let why = if who(source, path) != who(made, path) {
                "another agent works there"
            } else if stand(&told, path) != stand(&before, path) {
                "something else would have been said there"
            } else {
                continue;
            };
            let why =
                format!("in this version the swarm would not have come so far: at `{path}`, {why}");
            return Err(Error::Invalid(vec![FieldError::new("/edits/swarm_version", why)]));
        }
    }
    for (path, call_id, _) in said.given.fresh() {
        let open = told
            .state
            .conversation(&at(path))
            .is_some_and(|state| state.unanswered().any(|call| call.id == call_id));
        if !open {
            let place = edits.tool_results.iter().position(|result| result.call_id == call_id);
            let pointer = format!("/edits/tool_results/{}/call_id", place.unwrap_or_default());
            let why = "the member no longer waits for an answer to it";
            return Err(Error::Invalid(vec![FieldError::new(pointer, why)]));
        }
    }
    Ok(())
}

fn at(path: &str) -> Path {
    call_key::names(path).into_iter().collect()
}

/// The agent that works at a path.
fn who(snapshot: &RunSnapshot, path: &str) -> Option<AgentId> {
    let swarm = snapshot.swarm.as_ref()?;
    swarm.agent_at(&swarm.plan, &at(path)).map(|agent| agent.agent_id)
}

/// How far a conversation has come, and what was said in it.
fn stand<'a>(told: &'a Transcript, path: &str) -> Option<(u32, &'a [Message])> {
    let state = told.state.conversation(&at(path))?;
    Some((state.steps, &state.messages))
}

impl Said<'_> {
    /// The input and what stands, without results that are new.
    fn records(&self) -> Vec<(Path, Record)> {
        let input = (Path::root(), Record::Input { message: self.input.0 });
        let fresh: BTreeSet<(&str, &str)> =
            self.given.fresh().map(|(path, call_id, _)| (path, call_id)).collect();
        let stands = |(path, record): &&(String, Record)| {
            record.call_id().is_none_or(|call_id| !fresh.contains(&(path.as_str(), call_id)))
        };
        let copies = self.copies.iter().filter(stands);
        std::iter::once(input)
            .chain(copies.map(|(path, record)| (at(path), record.clone())))
            .collect()
    }

    async fn messages(
        &self,
        tx: &mut TenantTx,
        row: &run::Row,
    ) -> Result<HashMap<ContentRef, Message>, Error> {
        let refs: Vec<ContentRef> =
            self.copies.iter().filter_map(|(_, record)| record.content()).collect();
        let mut bodies = content::find(tx, row.root_run_id, &refs).await?;
        bodies.extend(self.given.bodies().map(|(reference, body)| (reference, body.to_vec())));
        if refs.iter().any(|reference| !bodies.contains_key(reference)) {
            // It is just being forgotten.
            return Err(Error::RunPruned(row.run_id));
        }
        let read = |(reference, body): (ContentRef, Vec<u8>)| {
            Ok((reference, serde_json::from_slice(&body).context("what was said")?))
        };
        let mut messages: HashMap<ContentRef, Message> =
            bodies.into_iter().map(read).collect::<anyhow::Result<_>>()?;
        let (reference, input) = self.input;
        messages.insert(reference, input.clone());
        Ok(messages)
    }
}
