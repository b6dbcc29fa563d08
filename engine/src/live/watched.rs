//! Which runs have viewers, as far as this process has heard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared_models::RunId;
use tokio::time::Instant;

/// How long a run counts as watched after a viewer asked for it; viewers ask several times as often.
const WATCHED_FOR: Duration = Duration::from_secs(10);
/// Above so many, those that have run out are looked for.
const MANY: usize = 4096;

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<Mutex<HashMap<RunId, Instant>>>);

impl Watched {
    /// Says whether it was not watched before.
    pub(super) fn note(&self, run: RunId) -> bool {
        let now = Instant::now();
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.len() >= MANY && !watched.contains_key(&run) {
            watched.retain(|_, until| *until > now);
        }
        let before = watched.insert(run, now + WATCHED_FOR);
        before.is_none_or(|until| until <= now)
    }

    pub(super) fn has(&self, run: RunId) -> bool {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.get(&run).is_some_and(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_run_is_watched_for_as_long_as_somebody_asks_for_it() {
        let (watched, run) = (Watched::default(), RunId::mint());
        assert!(!watched.has(run));

        assert!(watched.note(run));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(watched.has(run));
        assert!(!watched.note(run));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(watched.has(run));
        tokio::time::advance(Duration::from_secs(2)).await;

        assert!(!watched.has(run));
    }
}
