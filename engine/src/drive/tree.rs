//! A run of a swarm: a tree of conversations, one journal. Whatever is due at the same time goes on at the same time.
//!
//! Each member at work is driven like an agent alone, by the same code, and does one thing at a time: it asks its model, or
//! makes the calls of a turn. What happened meanwhile is told to the tree when that is done, and what is due next is read
//! from the tree's state. So a process that takes over begins where the journal ends, in every branch.
//!
//! Invariant: nothing here waits for a commit but inside a job. A job that is in the middle of a commit of its own must go
//! on, or both would wait for each other.

mod below;
mod end;
mod hear;
mod job;
mod member;
mod needs;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use agentcore::swarm::{Path, Plan, SwarmState, due};
use agentcore::{Command, Failure, Happened, Outcome};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use self::below::Below;
use self::hear::{Heard, Pausing};
use self::job::{Done, Flight};
use self::member::Member;
use self::needs::Needs;
use super::interrupt::Stop;
use super::{Cx, budget, reconnect, rest, waits};
use crate::call_key;
use crate::catalogue::Pinned;
use crate::error::Error;
use crate::snapshot::RunSnapshot;
use crate::store::effect;
use crate::transcript::{Told, Transcript};

/// Where the run stands, as its new owner takes it over.
pub(super) struct Tree {
    plan: Plan,
    state: SwarmState,
    /// In the order of the plan's agents.
    agents: Vec<Arc<Pinned>>,
    /// What the journal says of members beside their conversations. Whoever is in it has worked before.
    told: BTreeMap<Path, Told>,
    /// The ledger, by path and then by key.
    known: HashMap<String, HashMap<String, effect::Row>>,
}

impl Tree {
    pub(super) fn new(told: Transcript, agents: &[RunSnapshot], ledger: Vec<effect::Row>) -> Self {
        let mut known: HashMap<String, HashMap<String, effect::Row>> = HashMap::new();
        for row in ledger {
            let path = call_key::split(&row.call_id).0.to_owned();
            known.entry(path).or_default().insert(row.call_id.clone(), row);
        }
        let pinned = |agent: &RunSnapshot| Arc::new(Pinned::new(agent.clone(), 0));
        let agents = agents.iter().map(pinned).collect();
        Self { plan: told.plan, state: told.state, agents, told: told.members, known }
    }
}

/// A tree that is driven.
struct Drive<'a> {
    cx: &'a Cx<'a>,
    tree: Tree,
    /// Those who have worked since we own the run.
    members: BTreeMap<Path, Member<'a>>,
    jobs: FuturesUnordered<BoxFuture<'a, Done>>,
    /// The members with a job.
    flights: HashMap<Path, Flight>,
    /// A job commits what no member will.
    committing: bool,
    /// A job reads what the run was told.
    hearing: bool,
    /// What works for members that have ended.
    below: Below,
    /// What members wait for that others work beside.
    needs: Needs,
    /// Something was told that a member at work is to take in when it is done.
    deferred: bool,
    /// What was told is to be read again.
    look_again: bool,
    /// Somebody wants it to stop for a while: nothing more is begun.
    pausing: Option<Pausing>,
    /// Members that have ended, whose hooks are to be told. Nothing else is begun before they have been.
    ends: Vec<(Path, Outcome)>,
    /// Those whose hooks are just being told.
    closing: HashSet<Path>,
    /// Why a hook did not let a member end well: that is the end of all.
    vetoed: Option<Failure>,
}

/// Drives the tree as far as it goes now.
pub(super) async fn go(cx: &Cx<'_>, tree: Tree) -> Result<(), Error> {
    if tree.state == SwarmState::new() {
        return Err(anyhow::anyhow!("the run has no input").into());
    }
    let mut drive = Drive::new(cx, tree);
    drive.enter_sleepers()?;
    drive.look_below();
    loop {
        drive.pass_time()?;
        drive.hear();
        drive.tell_ends()?;
        drive.close_ended();
        if let Some(outcome) = drive.outcome() {
            return drive.ended(&outcome).await;
        }
        if cx.app.draining.is_cancelled() {
            return drive.release().await;
        }
        // What was said before we came may be that all of it is over.
        if !drive.hearing {
            if drive.is_ready_to_pause() {
                return drive.pause().await;
            }
            if drive.closing.is_empty() && drive.pausing.is_none() {
                drive.begin_due()?;
                if drive.flights.is_empty() && drive.jobs.is_empty() {
                    return drive.wait().await;
                }
            }
            drive.commit_beside();
            drive.remember_beside();
        }
        if let Some(stop) = drive.listen().await? {
            return drive.stopped(stop).await;
        }
    }
}

impl<'a> Drive<'a> {
    fn new(cx: &'a Cx<'a>, tree: Tree) -> Self {
        // Whoever drove the tree before may have ended before the hooks were told.
        let all = tree.state.conversations().into_iter();
        let ended = all.filter_map(|(path, of)| Some((path, of.outcome()?.clone())));
        Self {
            cx,
            ends: ended.collect(),
            tree,
            members: BTreeMap::new(),
            jobs: FuturesUnordered::new(),
            flights: HashMap::new(),
            committing: false,
            hearing: false,
            below: Below::default(),
            needs: Needs::of(cx.claimed.epoch),
            deferred: false,
            look_again: false,
            pausing: None,
            closing: HashSet::new(),
            vetoed: None,
        }
    }

    /// Sets every member to work that has something to do and does nothing.
    fn begin_due(&mut self) -> Result<(), Error> {
        for (path, command) in due(&self.tree.plan, &self.tree.state) {
            if self.flights.contains_key(&path) {
                continue;
            }
            self.enter(&path)?;
            let Some(member) = self.members.get(&path) else { continue };
            let mut run = member.take()?;
            if let Some(state) = self.tree.state.conversation(&path) {
                run.state = state.clone();
            }
            if run.is_held_up() {
                continue;
            }
            if let Command::CallTools(ours) = &command {
                let others = run.state.unanswered().filter(|call| !ours.contains(call));
                run.delegated = others.map(|call| call.id.clone()).collect();
                if !run.has_calls() {
                    continue;
                }
            }
            let (flight, job) = job::of_member(member.cx.clone(), run, path.clone(), command);
            self.flights.insert(path, flight);
            self.jobs.push(job);
        }
        Ok(())
    }

    /// Commits what is noted and what no member at work commits soon.
    fn commit_beside(&mut self) {
        if !self.committing && self.cx.journal.has_notes() {
            self.committing = true;
            self.jobs.push(job::of_commit(self.cx.journal.clone()));
        }
    }

    /// Waits for whatever is next.
    async fn listen(&mut self) -> Result<Option<Stop>, Error> {
        let until = self.until();
        let over = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(done) = self.jobs.next() => self.done(done),
            // What it is about is read next.
            () = self.cx.active.nudge.notified() => Ok(None),
            () = tokio::time::sleep_until(self.cx.deadline) => Ok(Some(Stop::TimedOut)),
            () = over => Ok(None),
            () = self.cx.app.draining.cancelled() => Ok(None),
        }
    }

    fn done(&mut self, done: Done) -> Result<Option<Stop>, Error> {
        match done {
            Done::Member(path, done) => {
                let flight = self.flights.remove(&path);
                self.look_again |= std::mem::take(&mut self.deferred);
                match done {
                    Some(done) => done?,
                    None => self.interrupted(&path, flight.as_ref()),
                }
                self.tell(&path)?;
            }
            Done::Committed(done) => {
                self.committing = false;
                done?;
            }
            Done::Stopped(done) => {
                self.below.stopped();
                done?;
            }
            Done::Remembered(done) => self.remembered(done),
            Done::Heard(heard) => {
                self.hearing = false;
                return self.heard(heard?);
            }
            Done::Closed(path, vetoed) => {
                self.closing.remove(&path);
                if let Some(failure) = vetoed? {
                    self.veto(&path, failure);
                }
            }
        }
        Ok(None)
    }

    /// Tells the tree what has happened to a member.
    fn tell(&mut self, path: &Path) -> Result<(), Error> {
        let Some(member) = self.members.get(path) else { return Ok(()) };
        let happened = member.take()?.untold.replace(Vec::new()).unwrap_or_default();
        for happened in happened {
            self.step(path, happened);
        }
        let (steps, usage) = self.tree.state.used();
        self.cx.journal.change(|change| {
            change.usage = Some(usage);
            change.steps = Some(steps);
        });
        Ok(())
    }

    fn step(&mut self, path: &Path, happened: Happened) {
        // What is to be done next is read from the state.
        let due = agentcore::swarm::step(&self.tree.plan, &mut self.tree.state, path, happened);
        self.ends.extend(due.into_iter().filter_map(|(path, command)| match command {
            Command::Finish(outcome) if !path.is_root() => Some((path, outcome)),
            _ => None,
        }));
    }

    /// Lets go of a tree whose every branch waits.
    async fn wait(mut self) -> Result<(), Error> {
        let until = self.until();
        let idle = self.idle()?;
        let reason = waits::reason(idle.iter().map(|run| &**run));
        let needs = reconnect::needs(idle.iter().map(|run| &**run));
        budget::note(self.cx, idle.iter().map(|run| &**run));
        if needs.is_empty() {
            self.forget_needs().await?;
        }
        rest(self.cx, reason, until, needs).await
    }

    /// When the first call can be declared in doubt that an owner before us may still be at, or the first moment comes that
    /// a call waits for.
    fn until(&self) -> Option<Instant> {
        let idle = self.members.values().filter_map(|member| member.take().ok());
        idle.filter_map(|run| run.until()).min()
    }
}

/// What a signal means to the members, with the end of a child run already looked up.
type Signals = Vec<Heard>;
