//! Runs that people stop for a while. Whatever works for such a run stops with it, and goes on with it.

use shared_models::events::run::{RunPaused, RunResumed};
use shared_models::{RunStatus, UserId};

use super::Cx;
use crate::error::Error;
use crate::pauses;
use crate::record::Record;
use crate::store::child;

/// That somebody wants the run to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) by: Option<UserId>,
}

/// Lets go of a run until somebody resumes it. The runs that work for it are asked first, so that a crash in between leaves
/// none behind: whoever takes this one over is asked again.
pub(super) async fn begin(cx: &Cx<'_>, pause: Pause) -> Result<(), Error> {
    tell_children(cx, Word::Pause, pause.by).await?;
    cx.journal.note(Record::Paused { by: pause.by });
    cx.journal.change(|change| change.status = Some(RunStatus::Paused));
    let event = RunPaused { run: cx.claimed.reference(), by: pause.by };
    cx.journal.emit(&event).map_err(anyhow::Error::from)?;
    cx.journal.commit().await?;
    cx.app.stage.settled(cx.claimed.run);
    tracing::info!("the run is paused");
    metrics::counter!("engine_runs_paused_total").increment(1);
    Ok(())
}

/// Lets the runs go on that work for a run that goes on. Said before that is written down: told twice, they hear nothing new.
pub(super) async fn resume_children(cx: &Cx<'_>, by: Option<UserId>) -> Result<(), Error> {
    tell_children(cx, Word::Resume, by).await
}

/// Writes down that the run goes on, and tells of it.
pub(super) fn note_end(cx: &Cx<'_>, by: Option<UserId>) -> Result<(), Error> {
    cx.journal.note(Record::Unpaused { by });
    // Which is all that there is to tell of its going on.
    cx.journal.forget_kept_back();
    let event = RunResumed { run: cx.claimed.reference(), by, after: None };
    Ok(cx.journal.emit(&event).map_err(anyhow::Error::from)?)
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Pause,
    Resume,
}

/// One after the other, so that no two runs are held at once.
async fn tell_children(cx: &Cx<'_>, word: Word, by: Option<UserId>) -> Result<(), Error> {
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let children = child::under_way(&mut tx, cx.claimed.run).await?;
    drop(tx);
    for run in children {
        let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
        let told = match word {
            Word::Pause => pauses::pause(&mut tx, run, by).await,
            Word::Resume => pauses::resume(&mut tx, run, by).await,
        };
        match told {
            Ok(()) => {
                tx.commit().await?;
                cx.app.bell.ring_for(run).await;
            }
            Err(Error::RunEnded | Error::RunPaused | Error::RunNotPaused) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
