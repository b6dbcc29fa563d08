//! What reaches a tree from outside. Each answer goes to the member whose call it is of; one that is at work takes it in
//! when it is done, as the numbers of signals that are done with must have no gap.

use agentcore::Answer;
use agentcore::swarm::Path;
use futures::FutureExt as _;
use shared_models::UserId;

use super::job::Done;
use super::{Drive, Signals};
use crate::call_key;
use crate::drive::approvals::{self, Decision};
use crate::drive::callbacks::{self, Back};
use crate::drive::interrupt::Stop;
use crate::drive::pause::{self, Pause};
use crate::drive::{Cx, budget, doubt, waits};
use crate::error::Error;
use crate::store::signal::{self, Signal};

/// A signal, and the call it answers.
pub(super) struct Heard {
    n: i64,
    signal: Signal,
    word: Word,
}

/// What a signal says of a call, with what had to be looked up for it.
enum Word {
    Answer(String, Answer),
    Decision(Decision),
    Back(Back),
    /// It says all there is to say itself.
    Signal,
}

/// That somebody wants the tree to stop for a while.
pub(super) struct Pausing {
    n: i64,
    by: Option<UserId>,
    /// Everything that was said before is done with.
    ready: bool,
}

fn about_pause(signal: &Signal) -> bool {
    matches!(signal, Signal::Pause { .. } | Signal::Resume { .. })
}

/// Reads what the run was told and has not taken in.
async fn read(cx: &Cx<'_>) -> Result<Signals, Error> {
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let signals = signal::open(&mut tx, cx.claimed.run).await?;
    drop(tx);
    let mut heard = Vec::with_capacity(signals.len());
    for (n, signal) in signals {
        let word = word(cx, &signal).await?;
        heard.push(Heard { n, signal, word });
    }
    let last = heard.iter().rev().map(|heard| &heard.signal).find(|signal| about_pause(signal));
    if let Some(Signal::Resume { by }) = last {
        pause::resume_children(cx, *by).await?;
    }
    Ok(heard)
}

async fn word(cx: &Cx<'_>, signal: &Signal) -> Result<Word, Error> {
    if let Some((call_id, answer)) = waits::answer(cx, signal).await? {
        return Ok(Word::Answer(call_id, answer));
    }
    if let Some(decision) = approvals::look_up(cx, signal).await? {
        return Ok(Word::Decision(decision));
    }
    let back = callbacks::look_up(cx, signal).await?;
    Ok(back.map_or(Word::Signal, Word::Back))
}

impl Drive<'_> {
    /// Whether everybody has come to rest for a pause, and nothing that was said before it is open.
    pub(super) fn is_ready_to_pause(&self) -> bool {
        self.pausing.as_ref().is_some_and(|pausing| pausing.ready)
            && self.jobs.is_empty()
            && self.flights.is_empty()
    }

    /// Lets go of the tree until somebody resumes it.
    pub(super) async fn pause(self) -> Result<(), Error> {
        let Some(Pausing { n, by, .. }) = self.pausing else { return Ok(()) };
        self.cx.journal.drained(n);
        pause::begin(self.cx, Pause { by }).await
    }

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
    pub(super) fn heard(&mut self, mut signals: Signals) -> Result<Option<Stop>, Error> {
        // What was taken in is still there until that is durable.
        signals.retain(|heard| !self.cx.journal.has_heard(heard.n));
        let mut gap = false;
        let last = signals.iter().rposition(|heard| about_pause(&heard.signal));
        self.pausing = None;
        for (place, Heard { n, signal, word }) in signals.into_iter().enumerate() {
            if let Signal::Cancel { by, reason } = signal {
                self.cx.journal.drained(n);
                return Ok(Some(Stop::Cancelled { by, reason }));
            }
            if let (Signal::Pause { by }, true) = (&signal, last == Some(place)) {
                // What came before it must be done with, and it itself is when the run is at rest.
                self.pausing = Some(Pausing { n, by: *by, ready: !gap });
                gap = true;
                continue;
            }
            if self.deliver(n, &signal, word)? && !gap {
                match signal {
                    Signal::Resume { by } => pause::note_end(self.cx, by)?,
                    Signal::Room { changed } => budget::note_change(self.cx, changed),
                    _ => {}
                }
                self.cx.journal.drained(n);
            } else {
                gap = true;
            }
        }
        self.deferred |= gap;
        Ok(None)
    }

    /// Says whether the signal is done with.
    fn deliver(&mut self, n: i64, signal: &Signal, word: Word) -> Result<bool, Error> {
        if matches!(signal, Signal::Room { .. }) {
            return self.look_for_room();
        }
        if let Signal::Connected { credential_id } = signal {
            self.ask_again(n, (*credential_id).into())?;
            return Ok(true);
        }
        let key = match signal {
            Signal::Answered { call_id, .. }
            | Signal::ChildEnded { call_id, .. }
            | Signal::Decided { call_id, .. }
            | Signal::CalledBack { call_id }
            | Signal::Check { call_id, .. }
            | Signal::Doubt { call_id, .. } => call_id,
            Signal::Cancel { .. }
            | Signal::Pause { .. }
            | Signal::Resume { .. }
            | Signal::Room { .. }
            | Signal::Connected { .. } => return Ok(true),
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
        match word {
            Word::Answer(call_id, answer) => {
                waits::answered(&member.cx, &mut run, signal, (call_id, answer))?;
            }
            Word::Back(back) => callbacks::take(&member.cx, &mut run, back)?,
            Word::Decision(decision) => approvals::decided(&member.cx, &mut run, decision)?,
            Word::Signal => doubt::answered(&member.cx, &mut run, signal)?,
        }
        drop(run);
        self.tell(&path)?;
        Ok(true)
    }

    /// Has everybody ask again who was short of a budget; whoever is at work may just be learning that they are.
    fn look_for_room(&self) -> Result<bool, Error> {
        if !self.flights.is_empty() {
            return Ok(false);
        }
        for member in self.members.values() {
            member.take()?.short.clear();
        }
        Ok(true)
    }
}
