//! What reaches a tree from outside. Each answer goes to the member whose call it is of; one that is at work takes it in
//! when it is done, as the numbers of signals that are done with must have no gap.

use agentcore::Answer;
use agentcore::swarm::Path;
use futures::FutureExt as _;

use super::job::Done;
use super::{Drive, Signals};
use crate::call_key;
use crate::drive::interrupt::Stop;
use crate::drive::{Cx, doubt, waits};
use crate::error::Error;
use crate::store::signal::{self, Signal};

/// A signal, and the call it answers.
pub(super) struct Heard {
    n: i64,
    signal: Signal,
    answer: Option<(String, Answer)>,
}

/// Reads what the run was told and has not taken in.
async fn read(cx: &Cx<'_>) -> Result<Signals, Error> {
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let signals = signal::open(&mut tx, cx.claimed.run).await?;
    drop(tx);
    let mut heard = Vec::with_capacity(signals.len());
    for (n, signal) in signals {
        let answer = waits::answer(cx, &signal).await?;
        heard.push(Heard { n, signal, answer });
    }
    Ok(heard)
}

impl Drive<'_> {
    /// Looks at what the run was told, if it may have been told something.
    pub(super) fn hear(&mut self) {
        if self.hearing {
            return;
        }
        let told = self.cx.active.was_told();
        if told || std::mem::take(&mut self.look_again) {
            self.hearing = true;
            let cx = self.cx;
            self.jobs.push(async move { Done::Heard(read(cx).await) }.boxed());
        }
    }

    /// Takes in what was told; gives the first reason to stop.
    pub(super) fn heard(&mut self, signals: Signals) -> Result<Option<Stop>, Error> {
        let mut done_with = None;
        let mut gap = false;
        for Heard { n, signal, answer } in signals {
            if let Signal::Cancel { by, reason } = signal {
                self.cx.journal.drained(n);
                return Ok(Some(Stop::Cancelled { by, reason }));
            }
            if self.deliver(&signal, answer)? && !gap {
                done_with = Some(n);
            } else {
                gap = true;
            }
        }
        if let Some(n) = done_with {
            self.cx.journal.drained(n);
        }
        self.deferred |= gap;
        Ok(None)
    }

    /// Says whether the signal is done with.
    fn deliver(
        &mut self,
        signal: &Signal,
        answer: Option<(String, Answer)>,
    ) -> Result<bool, Error> {
        let key = match signal {
            Signal::Answered { call_id, .. }
            | Signal::ChildEnded { call_id, .. }
            | Signal::Doubt { call_id, .. } => call_id,
            Signal::Cancel { .. } => return Ok(true),
        };
        let path: Path = call_key::names(call_key::split(key).0).into_iter().collect();
        if self.flights.contains_key(&path) {
            return Ok(false);
        }
        if self.tree.state.conversation(&path).is_none_or(|of| of.outcome().is_some()) {
            return Ok(true);
        }
        self.enter(&path)?;
        let Some(member) = self.members.get(&path) else { return Ok(true) };
        let mut run = member.take()?;
        if let Some(state) = self.tree.state.conversation(&path) {
            run.state = state.clone();
        }
        match answer {
            Some(answer) => waits::answered(&member.cx, &mut run, signal, answer)?,
            None => doubt::answered(&member.cx, &mut run, signal)?,
        }
        drop(run);
        self.tell(&path)?;
        Ok(true)
    }
}
