//! How a run of a tree ends, or is left to another process.

use agentcore::swarm::Path;
use agentcore::{Failure, FinishReason, Happened, Message, Outcome};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use shared_models::RunStatus;

use super::{Drive, job};
use crate::drive::finish::{self, Sum};
use crate::drive::hooks;
use crate::drive::interrupt::Stop;
use crate::drive::{PATIENCE, budget, release, waits};
use crate::error::Error;
use crate::record::Record;

impl Drive<'_> {
    /// How the tree has ended, once everybody's hooks have been told of theirs.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        if !self.closing.is_empty() {
            return None;
        }
        let outcome = self.tree.state.outcome().cloned()?;
        Some(hooks::overruled(outcome, self.vetoed.as_ref()))
    }

    /// Tells the hooks of members that have ended by themselves. Those that were taken from their work hear no more.
    pub(super) fn tell_ends(&mut self) -> Result<(), Error> {
        for (path, outcome) in std::mem::take(&mut self.ends) {
            let has_hooks = self.agent_at(&path).is_some_and(|agent| !agent.hooks.is_empty());
            let was_taken = outcome.finish_reason == FinishReason::Cancelled;
            if !has_hooks || was_taken || self.flights.contains_key(&path) {
                continue;
            }
            self.enter(&path)?;
            let Some(member) = self.members.get(&path) else { continue };
            let mut run = member.take()?;
            if let Some(state) = self.tree.state.conversation(&path) {
                run.state = state.clone();
            }
            self.closing.insert(path.clone());
            self.jobs.push(job::of_end(member.cx.clone(), run, path, outcome));
        }
        Ok(())
    }

    /// A hook did not let a member end well.
    pub(super) fn veto(&mut self, path: &Path, failure: Failure) {
        let message = format!("`{path}` failed: {}", failure.message);
        let failure = Failure { message, ..failure };
        self.cx.journal.note(Record::Aborted { failure: failure.clone() });
        self.step(&Path::root(), Happened::Aborted(failure.clone()));
        self.vetoed.get_or_insert(failure);
    }

    /// The tree has come to its own end: at the end of its work, or because a member has failed. Whoever is still at work
    /// is taken from it.
    pub(super) async fn ended(mut self, outcome: &Outcome) -> Result<(), Error> {
        if self.give_up("the swarm has ended") | self.below.is_open() {
            waits::cancel_children(self.cx.app, self.cx.claimed, "it has ended").await?;
        }
        self.write(outcome, finish::status(outcome)).await
    }

    /// Somebody or the deadline ended it, with everybody in it.
    pub(super) async fn stopped(mut self, stop: Stop) -> Result<(), Error> {
        let (status, by, reason) = finish::words(stop);
        self.give_up(&reason);
        waits::cancel_children(self.cx.app, self.cx.claimed, &reason).await?;
        budget::note_changes(self.cx).await?;
        self.cx.journal.note(Record::Stopped { reason: reason.clone(), by });
        self.step(&Path::root(), Happened::Cancelled { reason });
        let Some(outcome) = self.tree.state.outcome().cloned() else {
            return Err(anyhow::anyhow!("a stopped tree does not end").into());
        };
        self.write(&outcome, status).await
    }

    /// Takes everybody from their work; says whether runs may be left that work for them.
    fn give_up(&mut self, reason: &str) -> bool {
        self.jobs = FuturesUnordered::new();
        for (path, flight) in std::mem::take(&mut self.flights) {
            self.interrupted(&path, Some(&flight));
        }
        let paths: Vec<Path> = self.members.keys().cloned().collect();
        let mut children = false;
        for path in paths {
            let Some(member) = self.members.get_mut(&path) else { continue };
            if !member.is_closed() {
                children |= member.close(reason);
            }
            // What has been written down of it has happened, whether the tree still wants to hear it or not.
            if let Err(error) = self.tell(&path) {
                tracing::warn!(%error, %path, "a member cannot be closed");
            }
        }
        children
    }

    async fn write(&mut self, outcome: &Outcome, status: RunStatus) -> Result<(), Error> {
        let output = if outcome.output.is_empty() {
            None
        } else {
            let said = Message::assistant(&outcome.output);
            Some(self.cx.journal.keep(&said).map_err(anyhow::Error::from)?)
        };
        let (steps, usage) = self.tree.state.used();
        finish::write(self.cx, &Sum { steps, usage, output }, outcome, status).await
    }

    /// Leaves the run to another process, because this one stops. Calls of tools end first, and models if they are quick.
    pub(super) async fn release(mut self) -> Result<(), Error> {
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        let mut out_of_patience = false;
        while !self.jobs.is_empty() {
            tokio::select! {
                Some(done) = self.jobs.next() => {
                    if let Some(stop) = self.done(done)? {
                        return self.stopped(stop).await;
                    }
                    self.tell_ends()?;
                    self.close_ended();
                }
                () = &mut patience, if !out_of_patience => {
                    out_of_patience = true;
                    self.flights.values().filter(|flight| flight.asks_model).for_each(super::Flight::give_up);
                }
            }
        }
        match self.outcome() {
            Some(outcome) => self.ended(&outcome).await,
            None => release(self.cx).await,
        }
    }
}
