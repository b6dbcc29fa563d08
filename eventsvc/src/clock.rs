//! The database's clock, without asking it each time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::SystemTime,
};

use chrono::{DateTime, Duration, Utc};

/// What time it is by the database: the host's clock, corrected by the difference last seen.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead_micros: Arc<AtomicI64>,
}

impl Clock {
    /// Now, by the database.
    pub fn now(&self) -> DateTime<Utc> {
        host() + Duration::microseconds(self.ahead_micros.load(Ordering::Relaxed))
    }

    /// Learns what the database said in answer to a question asked at `asked` (by [`Clock::host`]). It was said at some time
    /// since: a difference that fits this stays, so that an answer that took long does not put the clock forward or back.
    pub fn learn(&self, asked: DateTime<Utc>, said: DateTime<Utc>) {
        let micros = |ahead: Duration| ahead.num_microseconds().unwrap_or_default();
        let (most, least) = (micros(said - asked), micros(said - host()));
        let present = self.ahead_micros.load(Ordering::Relaxed);
        self.ahead_micros.store(present.min(most).max(least), Ordering::Relaxed);
    }

    /// The host's own clock, to measure with.
    pub fn host() -> DateTime<Utc> {
        host()
    }
}

fn host() -> DateTime<Utc> {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_to_the_database_is_made_up_for() {
        let clock = Clock::default();

        clock.learn(host(), host() + Duration::hours(2));

        let ahead = clock.now() - host();
        assert!((ahead - Duration::hours(2)).abs() < Duration::seconds(1), "{ahead}");
    }

    #[test]
    fn an_answer_that_took_long_does_not_put_the_clock_forward_or_back() {
        let clock = Clock::default();

        clock.learn(host() - Duration::seconds(8), host());
        clock.learn(host() - Duration::seconds(8), host() - Duration::seconds(8));

        assert_eq!(clock.ahead_micros.load(Ordering::Relaxed), 0);
    }
}
