//! This process's own view of its lease.
//!
//! Others may take our runs once the lease has ended by the database's clock. Right before something leaves for the
//! outside world we ask ourselves whether it still lasts, by a clock that goes on while the machine or the process is
//! suspended: a process that was stopped for a minute must not go on as if nothing had happened.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

#[derive(Debug)]
pub(crate) struct Lease {
    until_ms: AtomicI64,
    lapses: AtomicU64,
}

impl Lease {
    /// Not held yet.
    pub(crate) fn new() -> Self {
        Self { until_ms: AtomicI64::new(i64::MIN), lapses: AtomicU64::new(0) }
    }

    /// Notes a heartbeat that was begun at `begun` and has succeeded. It counts from its beginning: the database can
    /// only have seen it later.
    pub(crate) fn renew(&self, begun: Moment, lease: Duration) {
        let before = self.until_ms.load(Ordering::Acquire);
        if before != i64::MIN && before <= now().0 {
            // Seen by whoever sees that the lease lasts again.
            self.lapses.fetch_add(1, Ordering::Release);
        }
        self.until_ms.store(begun.0.saturating_add(lease.as_millis() as i64), Ordering::Release);
    }

    /// How often the lease had ended before it was renewed. What was ours before may be somebody else's since, although
    /// the lease lasts again.
    pub(crate) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Acquire)
    }

    /// Whether the lease lasts, with a margin for what happens between asking and acting.
    pub(crate) fn holds(&self) -> bool {
        const MARGIN_MS: i64 = 100;
        now().0.saturating_add(MARGIN_MS) < self.until_ms.load(Ordering::Acquire)
    }

    /// Whether the lease lasts, or does so before long: who has just begun has it with the first heartbeat.
    pub(crate) async fn holds_soon(&self, patience: Duration) -> bool {
        let lasts = async {
            while !self.holds() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(patience, lasts).await.is_ok()
    }
}

/// How often it is looked whether the lease lasts by now.
const LOOK: Duration = Duration::from_millis(50);

/// A moment on the clock that counts suspension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(i64);

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
// Darwin's monotonic clock goes on during sleep.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

pub(crate) fn now() -> Moment {
    // A clock that cannot be read must not make a lease last for ever.
    let time = clock_gettime(CLOCK).map_or(i64::MAX, |time| {
        time.tv_sec().saturating_mul(1000).saturating_add(time.tv_nsec() / 1_000_000)
    });
    Moment(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_the_beginning_of_its_heartbeat() {
        let lease = Lease::new();
        assert!(!lease.holds());

        lease.renew(now(), Duration::from_secs(10));
        assert!(lease.holds());

        lease.renew(Moment(now().0 - 10_000), Duration::from_secs(10));
        assert!(!lease.holds());
        assert_eq!(lease.lapses(), 0);

        lease.renew(now(), Duration::from_secs(10));
        assert!(lease.holds());
        assert_eq!(lease.lapses(), 1);
    }

    #[tokio::test]
    async fn the_first_heartbeat_is_waited_for_but_not_for_ever() {
        let lease = Lease::new();
        assert!(!lease.holds_soon(LOOK * 2).await);

        let (holds, ()) = tokio::join!(lease.holds_soon(Duration::from_secs(60)), async {
            lease.renew(now(), Duration::from_secs(10));
        });
        assert!(holds);
    }
}
