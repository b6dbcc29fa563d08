//! Who could not log in does not try again at once: many ask for a token at a time, and an engine that is unwell, or counts
//! failed logins, is not helped by that.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::VaultError;

/// After the first failure; it doubles.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15);

/// The pause after a failure, if there is one.
#[derive(Debug, Default)]
pub(super) struct Pause(Mutex<Option<Failed>>);

#[derive(Clone, Debug)]
struct Failed {
    error: VaultError,
    pause: Duration,
    until: Instant,
}

impl Pause {
    /// What went wrong the last time, while it is too early to try again.
    pub(super) fn check(&self) -> Result<(), VaultError> {
        match self.with(|failed| failed.clone()) {
            Some(failed) if Instant::now() < failed.until => Err(failed.error),
            _ => Ok(()),
        }
    }

    /// Takes in how it went.
    pub(super) fn note(&self, error: Option<&VaultError>) {
        self.with(|failed| {
            let before = failed.as_ref().map(|failed| failed.pause);
            let pause = before.map_or(FIRST, |before| (before * 2).min(LONGEST));
            let until = Instant::now() + pause;
            *failed = error.map(|error| Failed { error: error.clone(), pause, until });
        });
    }

    fn with<T>(&self, what: impl FnOnce(&mut Option<Failed>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_again_until_its_pause_is_over_which_doubles() {
        let (pause, error) = (Pause::default(), VaultError::RootDown("away".into()));
        assert_eq!(pause.check(), Ok(()));

        for seconds in [1, 2, 4, 8, 15, 15] {
            pause.note(Some(&error));
            tokio::time::advance(Duration::from_millis(seconds * 1000 - 1)).await;
            assert_eq!(pause.check(), Err(error.clone()), "{seconds}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(pause.check(), Ok(()), "{seconds}");
        }
        pause.note(None);
        pause.note(Some(&error));
        tokio::time::advance(FIRST).await;
        assert_eq!(pause.check(), Ok(()), "it began anew");
    }
}
