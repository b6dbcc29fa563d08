//! Whether a listener may pull: not while a dependency is down, then one event at a time until one succeeds.

use std::time::Duration;

use tokio::time::Instant;

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

    /// When the pause ends, while there is one.
    pub(crate) fn closed_until(&self) -> Option<Instant> {
        self.closed_until
    }

    pub(crate) fn open(&mut self) {
        self.closed_until = None;
    }

    /// How many events may be under way.
    pub(crate) fn limit(&self, usual: usize) -> usize {
        if self.strikes > 0 { 1 } else { usual }
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
            pauses.push((gate.closed_until().unwrap() - Instant::now()).as_secs());
            gate.open();
        }

        assert_eq!(pauses, [1, 2, 3]);
        assert_eq!(gate.limit(16), 1);
        gate.note(Health::Fine);
        assert_eq!(gate.limit(16), 16);
    }
}
