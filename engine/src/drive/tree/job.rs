//! What goes on at the same time.

use agentcore::swarm::Path;
use agentcore::{Command, Failure, Outcome};
use futures::FutureExt as _;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use tokio::sync::OwnedMutexGuard;

use super::Signals;
use crate::committer::AppendError;
use crate::drive::{Cx, Run, hooks, model, probe};
use crate::error::Error;
use crate::journal::Journal;

/// A job that has ended.
pub(super) enum Done {
    /// A member's; without an answer when it was taken from its work.
    Member(Path, Option<Result<(), Error>>),
    Committed(Result<(), AppendError>),
    Heard(Result<Signals, Error>),
    /// The hooks of a member that has ended have been told; one of them may be against it.
    Closed(Path, Result<Option<Failure>, Error>),
    /// What members wait for is written down.
    Remembered(Result<(), Error>),
    /// The runs that worked for members which have ended have been told to stop.
    Stopped(Result<(), Error>),
}

/// A member at work.
pub(super) struct Flight {
    handle: AbortHandle,
    /// Asked again elsewhere, a model costs tokens; a tool may cost more.
    pub(super) asks_model: bool,
}

impl Flight {
    /// Takes the member from its work, where it stands.
    pub(super) fn give_up(&self) {
        self.handle.abort();
    }
}

pub(super) fn of_member(
    cx: Cx<'_>,
    mut run: OwnedMutexGuard<Run>,
    path: Path,
    command: Command,
) -> (Flight, BoxFuture<'_, Done>) {
    let asks_model = !matches!(command, Command::CallTools(_));
    let work = async move {
        if !cx.snapshot.hooks.is_empty() {
            hooks::fire(&cx, &mut run, &command).await?;
            if run.state.outcome().is_some() {
                return Ok(());
            }
        }
        if asks_model {
            model::carry_out(&cx, &mut run, &command).await
        } else {
            probe::call(&cx, &mut run).await
        }
    };
    let (handle, registration) = AbortHandle::new_pair();
    let work = Abortable::new(work, registration);
    let job = async move { Done::Member(path, work.await.ok()) };
    (Flight { handle, asks_model }, job.boxed())
}

/// Tells the hooks of a member that has ended.
pub(super) fn of_end(
    cx: Cx<'_>,
    mut run: OwnedMutexGuard<Run>,
    path: Path,
    outcome: Outcome,
) -> BoxFuture<'_, Done> {
    let job = async move { Done::Closed(path, hooks::close(&cx, &mut run, outcome).await) };
    job.boxed()
}

pub(super) fn of_commit<'a>(journal: Journal) -> BoxFuture<'a, Done> {
    let job = async move {
        // Whoever begins something commits by themselves, and all of it goes together.
        tokio::task::yield_now().await;
        let done = if journal.has_notes() { journal.commit().await } else { Ok(()) };
        Done::Committed(done)
    };
    job.boxed()
}
