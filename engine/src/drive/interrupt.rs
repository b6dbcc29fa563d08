//! What reaches a run from outside while it is driven: signals and its deadline.

use shared_models::UserId;

use super::pause::{self, Pause};
use super::{Cx, Run, approvals, budget, callbacks, doubt, naps, waits};
use crate::error::Error;
use crate::store::signal::{self, Signal};

/// Why a run is to end early.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    Cancelled { by: Option<UserId>, reason: String },
    TimedOut,
}

/// Does something, unless the run is stopped meanwhile: then it is given up at once.
pub(super) async fn unless_stopped(
    cx: &Cx<'_>,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<Option<Stop>, Error> {
    tokio::select! {
        biased;
        done = work => done.map(|()| None),
        stop = stopped(cx) => Ok(Some(stop)),
    }
}

async fn stopped(cx: &Cx<'_>) -> Stop {
    loop {
        tokio::select! {
            () = cx.active.nudge.notified() => match cancelled(cx).await {
                Ok(Some(stop)) => return stop,
                Ok(None) => {}
                // No reason to give up calls under way: the sweeper asks again while the signal is open.
                Err(error) => tracing::warn!(%error, "the run's signals cannot be read now"),
            },
            () = tokio::time::sleep_until(cx.deadline) => return Stop::TimedOut,
        }
    }
}

/// Anything but a cancel is taken in when the calls under way have ended.
async fn cancelled(cx: &Cx<'_>) -> Result<Option<Stop>, sqlx::Error> {
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let signals = signal::open(&mut tx, cx.claimed.run).await?;
    Ok(signals.into_iter().find_map(|(_, signal)| match signal {
        Signal::Cancel { by, reason } => Some(Stop::Cancelled { by, reason }),
        Signal::Doubt { .. }
        | Signal::Check { .. }
        | Signal::Answered { .. }
        | Signal::ChildEnded { .. }
        | Signal::Pause { .. }
        | Signal::Resume { .. }
        | Signal::Decided { .. }
        | Signal::Room { .. }
        | Signal::Connected { .. }
        | Signal::CalledBack { .. } => None,
    }))
}

/// Takes in what has been signalled, in order, and what time has brought. Gives the first reason to stop.
pub(super) async fn take_signals(cx: &Cx<'_>, run: &mut Run) -> Result<Option<Stop>, Error> {
    doubt::declare(cx, run);
    naps::wake(cx, run)?;
    if !cx.active.was_told() {
        return Ok(timed_out(cx));
    }
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let signals = signal::open(&mut tx, cx.claimed.run).await?;
    drop(tx);
    for (n, signal) in signals {
        // It is still there until it is durable that it was taken in.
        if cx.journal.has_heard(n) {
            continue;
        }
        cx.journal.drained(n);
        match signal {
            Signal::Cancel { by, reason } => return Ok(Some(Stop::Cancelled { by, reason })),
            Signal::Doubt { .. } | Signal::Check { .. } => doubt::answered(cx, run, &signal)?,
            Signal::Room { changed } => {
                run.short.clear();
                budget::note_change(cx, changed);
            }
            Signal::Connected { credential_id } => run.ask_again(credential_id.into()),
            Signal::Pause { by } => run.pausing = Some(Pause { by }),
            Signal::Resume { by } => {
                run.pausing = None;
                pause::resume_children(cx, by).await?;
                pause::note_end(cx, by)?;
            }
            Signal::Decided { .. } => {
                if let Some(decision) = approvals::look_up(cx, &signal).await? {
                    approvals::decided(cx, run, decision)?;
                }
            }
            Signal::CalledBack { .. } => {
                if let Some(back) = callbacks::look_up(cx, &signal).await? {
                    callbacks::take(cx, run, back)?;
                }
            }
            Signal::Answered { .. } | Signal::ChildEnded { .. } => {
                if let Some(answer) = waits::answer(cx, &signal).await? {
                    waits::answered(cx, run, &signal, answer)?;
                }
            }
        }
    }
    Ok(timed_out(cx))
}

fn timed_out(cx: &Cx<'_>) -> Option<Stop> {
    (tokio::time::Instant::now() >= cx.deadline).then_some(Stop::TimedOut)
}
