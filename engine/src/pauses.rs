//! Stopping runs for a while. Any process may ask; the owner stops at its next step, so that nothing is given up, and says so
//! in the journal. The clock of a deadline stands still meanwhile.

use dbutil::TenantTx;
use shared_models::{RunId, RunStatus, UserId};

use crate::error::Error;
use crate::store::signal::{self, Signal};
use crate::store::{queue, run};

/// Asks a run to stop. Refused when it has ended, or has been asked already.
pub(crate) async fn pause(tx: &mut TenantTx, run: RunId, by: Option<UserId>) -> Result<(), Error> {
    if stands_still(tx, run).await? {
        return Err(Error::RunPaused);
    }
    signal::insert(tx, run, &Signal::Pause { by }).await?;
    // A worker writes it down, whether the run has anything to do or not.
    queue::wake(tx, run).await?;
    Ok(())
}

/// Asks a run to go on. Refused when it has ended, or has not been asked to stop.
pub(crate) async fn resume(tx: &mut TenantTx, run: RunId, by: Option<UserId>) -> Result<(), Error> {
    if !stands_still(tx, run).await? {
        return Err(Error::RunNotPaused);
    }
    signal::insert(tx, run, &Signal::Resume { by }).await?;
    queue::unpause(tx, run).await?;
    Ok(())
}

/// Whether a run is paused or will be, by its row and by what its owner has not heard yet. It is held from now on, so that
/// nobody else says otherwise meanwhile.
async fn stands_still(tx: &mut TenantTx, run: RunId) -> Result<bool, Error> {
    let status = run::hold(tx, run).await?.ok_or(Error::RunNotFound(run))?;
    if status.terminal() {
        return Err(Error::RunEnded);
    }
    let open = signal::open(tx, run).await?;
    let paused = status == RunStatus::Paused;
    Ok(open.iter().fold(paused, |still, (_, signal)| match signal {
        Signal::Pause { .. } => true,
        Signal::Resume { .. } => false,
        _ => still,
    }))
}
