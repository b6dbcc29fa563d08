//! Whether a listener may pull: not while a dependency is down, then one event at a time until one succeeds.

use std::time::Duration;

use dbutil::Db;
use tokio::time::{Instant, sleep_until};

use super::{Health, ListenOptions};

pub(crate) struct Gate {
    first: Duration,
    longest: Duration,
    strikes: u32,
    closed_until: Option<Instant>,
}

impl Gate {
    pub(crate) fn new(options: &ListenOptions) -> Self {
        let (first, longest) = (options.first_pause, options.longest_pause);
        Self { first, longest, strikes: 0, closed_until: None }
    }

    /// Learns from what happened. Events that were under way together count as one strike.
    pub(crate) fn note(&mut self, health: Health) {
        match health {
            Health::Fine if self.closed_until.is_none() => self.strikes = 0,
            Health::Down if self.closed_until.is_none() => {
                let pause = self.first.saturating_mul(2_u32.saturating_pow(self.strikes));
                self.strikes = (self.strikes + 1).min(16);
                self.closed_until = Some(Instant::now() + pause.min(self.longest));
            }
            Health::Fine | Health::Down => {}
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed_until.is_some()
    }

    /// How much of the pause is left.
    pub(crate) fn left(&self) -> Duration {
        self.closed_until.map_or(self.first, |until| until - Instant::now())
    }

    /// Waits for the end of the pause and opens when the database answers.
    pub(crate) async fn reopen(&mut self, db: &Db) {
        if let Some(until) = self.closed_until {
            sleep_until(until).await;
        }
        let answer = db.ping().await;
        self.closed_until = None;
        if answer.is_err() {
            self.note(Health::Down);
        }
    }

    /// How many events may be under way.
    pub(crate) fn limit(&self, usual: usize) -> usize {
        match (self.closed_until, self.strikes) {
            (Some(_), _) => 0,
            (None, 0) => usual,
            (None, _) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pause_doubles_until_an_event_succeeds() {
        let mut gate = Gate::new(&ListenOptions {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(3),
            ..ListenOptions::default()
        });
        let mut pauses = Vec::new();

        for _ in 0..3 {
            gate.note(Health::Down);
            gate.note(Health::Down);
            assert_eq!(gate.limit(16), 0);
            pauses.push(gate.left().as_secs());
            gate.closed_until = None;
        }

        assert_eq!(pauses, [1, 2, 3]);
        assert_eq!(gate.limit(16), 1);
        gate.note(Health::Fine);
        assert_eq!(gate.limit(16), 16);
    }
}
