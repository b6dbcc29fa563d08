//! What members wait for until somebody connects a credential again, while others work.
//!
//! It is written down as soon as it is known, and looked at once more then, so nobody who connects a credential again can
//! miss the run. A member at work may be just learning that it needs what has been connected meanwhile: what it then waits
//! for is written down anew, and looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt as _;
use shared_models::CredentialId;
use tokio::time::sleep;

use super::Drive;
use super::job::Done;
use crate::clients::credsvc::Needed;
use crate::drive::reconnect;
use crate::error::Error;

/// Before what could not be written is written again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Needs {
    /// What the rows say, as far as we know; none when that is not known any more.
    written: Option<Vec<Needed>>,
    /// They are being written.
    writing: bool,
    /// There may be rows.
    any: bool,
    /// The signals that were acted on. Each is heard again until everything that was said before it is done with, and who
    /// was told to ask again may have found out meanwhile that they must wait.
    heard: BTreeSet<i64>,
}

impl Needs {
    /// Of a claim with this number: whoever drove the tree before may have written something down.
    pub(super) fn of(epoch: i32) -> Self {
        Self { any: epoch > 1, ..Self::default() }
    }
}

impl Drive<'_> {
    /// Writes down what idle members wait for, if that has changed. Once nobody is at work it is written as the run is put
    /// to rest.
    pub(super) fn remember_beside(&mut self) {
        if self.needs.writing || self.flights.is_empty() {
            return;
        }
        let idle = self.members.values().filter(|member| !member.is_closed());
        let idle: Vec<_> = idle.filter_map(|member| member.take().ok()).collect();
        let needs = reconnect::needs(idle.iter().map(|run| &**run));
        drop(idle);
        let Needs { written, any, writing, .. } = &mut self.needs;
        if written.as_ref() == Some(&needs) || (!*any && needs.is_empty()) {
            return;
        }
        (*any, *writing) = (true, true);
        *written = Some(needs.clone());
        let cx = self.cx;
        let job = async move {
            let done = reconnect::remember_beside(cx, &needs).await;
            if done.is_err() {
                sleep(PAUSE).await;
            }
            Done::Remembered(done)
        };
        self.jobs.push(job.boxed());
    }

    /// What could not be written is written later: it is no reason to take others from their work.
    pub(super) fn remembered(&mut self, done: Result<(), Error>) {
        self.needs.writing = false;
        if let Err(error) = done {
            tracing::warn!(%error, "what members wait for could not be written down");
            self.needs.written = None;
        }
    }

    /// Takes away what was written down, as the run is put to rest without waiting for a credential.
    pub(super) async fn forget_needs(&mut self) -> Result<(), Error> {
        if self.needs.any { reconnect::forget(self.cx).await } else { Ok(()) }
    }

    /// Has everybody who does nothing ask again for what needs this credential. Its row is gone.
    pub(super) fn ask_again(&mut self, n: i64, credential: CredentialId) -> Result<(), Error> {
        if !self.needs.heard.insert(n) {
            return Ok(());
        }
        self.needs.written = None;
        for (path, member) in &self.members {
            if !self.flights.contains_key(path) && !self.closing.contains(path) {
                member.take()?.ask_again(credential);
            }
        }
        Ok(())
    }
}
