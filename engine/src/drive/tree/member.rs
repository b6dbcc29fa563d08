//! Members as they begin and as they end.

use std::sync::Arc;

use agentcore::swarm::Path;
use anyhow::Context as _;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Drive;
use super::job::Flight;
use crate::catalogue::Pinned;
use crate::drive::{Cx, Run, doubt, finish, naps};
use crate::error::Error;
use crate::record::Record;

/// Somebody in the tree who has worked since we own the run.
pub(super) struct Member<'a> {
    pub(super) cx: Cx<'a>,
    /// Held by its job while it has one.
    run: Arc<Mutex<Run>>,
    /// It is done, or was told to stop, and nothing of it is open.
    closed: bool,
    /// It was taken from its work while it made calls.
    interrupted: bool,
}

impl Member<'_> {
    /// The member, while it does nothing.
    pub(super) fn take(&self) -> Result<OwnedMutexGuard<Run>, Error> {
        let run = self.run.clone().try_lock_owned().context("a member does two things at once")?;
        Ok(run)
    }
}

pub(super) const OVER: &str = "the work it belongs to has ended";

impl Drive<'_> {
    /// Makes sure that the member at a path is there to be driven.
    pub(super) fn enter(&mut self, path: &Path) -> Result<(), Error> {
        if self.members.contains_key(path) {
            return Ok(());
        }
        let state = self.tree.state.conversation(path).context("nobody works at that path")?;
        let mut cx = self.cx.clone();
        cx.snapshot = self.agent_at(path).context("no agent works at that path")?;
        cx.journal = self.cx.journal.at(&path.to_string());
        cx.meter = cx.meter.with(cx.claimed.run, cx.journal.path(), &cx.snapshot.budget);
        let mut run = Run::new(state.clone());
        run.untold = Some(Vec::new());
        run.given = self.tree.plan.tools_at(path);
        run.known = self.tree.known.remove(cx.journal.path()).unwrap_or_default();
        if let Some(told) = self.tree.told.remove(path) {
            run.recall(told);
            run.sort_out(cx.journal.path(), cx.app);
            doubt::declare(&cx, &mut run);
        } else if let Some(from) = self.tree.state.handed_over_by(&self.tree.plan, path) {
            cx.journal.note(Record::HandedOver { from: from.to_string() });
        }
        let run = Arc::new(Mutex::new(run));
        self.members.insert(path.clone(), Member { cx, run, closed: false, interrupted: false });
        Ok(())
    }

    pub(super) fn agent_at(&self, path: &Path) -> Option<Arc<Pinned>> {
        let (found, _) = self.tree.plan.find(path)?;
        let place =
            self.tree.plan.agents().iter().position(|(agent, _)| std::ptr::eq(*agent, found))?;
        self.tree.agents.get(place).cloned()
    }

    /// Those who do nothing and have not ended.
    pub(super) fn idle(&self) -> Result<Vec<OwnedMutexGuard<Run>>, Error> {
        self.members.values().filter(|member| !member.closed).map(Member::take).collect()
    }

    /// Sees to it that those are there who wait for a moment, which may have come.
    pub(super) fn enter_sleepers(&mut self) -> Result<(), Error> {
        let sleepers = self.tree.told.iter().filter(|(path, told)| {
            let state = self.tree.state.conversation(path);
            !told.naps.is_empty() && state.is_some_and(|state| state.outcome().is_none())
        });
        let sleepers: Vec<Path> = sleepers.map(|(path, _)| path.clone()).collect();
        sleepers.iter().try_for_each(|path| self.enter(path))
    }

    /// Declares calls in doubt whose time is over, and answers those that waited for a moment.
    pub(super) fn pass_time(&mut self) -> Result<(), Error> {
        let mut woken = Vec::new();
        for (path, member) in self.members.iter().filter(|(_, member)| !member.closed) {
            let Ok(mut run) = member.take() else { continue };
            doubt::declare(&member.cx, &mut run);
            if naps::wake(&member.cx, &mut run)? {
                woken.push(path.clone());
            }
        }
        woken.iter().try_for_each(|path| self.tell(path))
    }

    /// Sees to members whose conversation the tree has ended: whoever is at work is taken from it, and what is open of
    /// the others is given up.
    pub(super) fn close_ended(&mut self) {
        for (path, member) in &mut self.members {
            let ended = |state: &agentcore::Conversation| state.outcome().is_some();
            let closing = self.closing.contains(path);
            if member.closed || closing || !self.tree.state.conversation(path).is_some_and(ended) {
                continue;
            }
            match self.flights.get(path) {
                Some(flight) => flight.give_up(),
                None if member.close(OVER) => self.below.leave(path),
                None => {}
            }
        }
        self.stop_below();
    }

    /// A member was taken from its work.
    pub(super) fn interrupted(&mut self, path: &Path, flight: Option<&Flight>) {
        if let Some(member) = self.members.get_mut(path) {
            member.interrupted |= flight.is_some_and(|flight| !flight.asks_model);
        }
    }
}

impl Member<'_> {
    /// Gives up what is open of a member without a job; says whether runs may be left that work for it.
    pub(super) fn close(&mut self, reason: &str) -> bool {
        self.closed = true;
        let Ok(mut run) = self.take() else { return true };
        // Not in step with the tree on purpose: there the calls are closed already.
        if run.state.outcome().is_none() {
            finish::settle_calls(&self.cx, &mut run, reason);
        }
        run.naps.clear();
        let waiting = std::mem::take(&mut run.waiting);
        self.interrupted || waiting.values().any(|waited| waited.child.is_some())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}
