//! Token buckets: who came how often, in no more memory than is set aside for it.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Addresses that are told apart at the same time; the rest share one bucket.
const MOST: usize = 100_000;
/// How often what is over is looked for, at most.
const PRUNE: Duration = Duration::from_secs(1);

/// How often somebody may come: so often in a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// In a second, in the long run.
    pub per_second: u32,
    /// At once, after a while of nothing.
    pub burst: u32,
}

/// A bucket for each of many, full at first.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    /// When each will be full again; who is not here has a full one.
    full_at: HashMap<K, Instant>,
    /// The bucket of those for whom there is no room.
    rest_full_at: Option<Instant>,
    pruned_at: Option<Instant>,
    most: usize,
}

impl<K: Eq + Hash> Default for Buckets<K> {
    fn default() -> Self {
        Self { full_at: HashMap::new(), rest_full_at: None, pruned_at: None, most: MOST }
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Takes one out; the error says how long until there is one.
    pub(super) fn take(&mut self, who: K, pace: Pace, now: Instant) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / pace.per_second.max(1);
        let room = each * pace.burst.max(1);
        self.prune(now);
        let known = self.full_at.get(&who).copied();
        let crowded = known.is_none() && self.full_at.len() >= self.most;
        let full_at = if crowded { self.rest_full_at } else { known };
        let next = full_at.map_or(now, |at| at.max(now)) + each;
        if let Some(wait) = (next - now).checked_sub(room).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if crowded {
            self.rest_full_at = Some(next);
        } else {
            self.full_at.insert(who, next);
        }
        Ok(())
    }

    fn prune(&mut self, now: Instant) {
        let due = self.pruned_at.is_none_or(|at| now.saturating_duration_since(at) >= PRUNE);
        if due {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.pruned_at = Some(now);
        }
    }
}

/// What counts as one address: whoever has one of version 6 has the network of 64 bits around it too.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let own = u128::from(address) >> 64 << 64;
            IpAddr::V6(own.into())
        }
        version4 @ IpAddr::V4(_) => version4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { per_second: 10, burst: 3 };

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let mut take =
            |who: u8, millis| buckets.take(who, PACE, now + Duration::from_millis(millis));

        for _ in 0..3 {
            assert_eq!(take(1, 0), Ok(()));
        }
        assert_eq!(take(1, 0), Err(Duration::from_millis(100)));
        assert_eq!(take(2, 0), Ok(()), "another is counted by itself");
        assert_eq!(take(1, 60), Err(Duration::from_millis(40)));
        assert_eq!(take(1, 100), Ok(()));
        assert_eq!(take(1, 100), Err(Duration::from_millis(100)));
        // What was refused cost nothing: after a while the burst is there again.
        for _ in 0..3 {
            assert_eq!(take(1, 5000), Ok(()));
        }
    }

    #[test]
    fn however_many_come_there_is_an_end_to_what_is_remembered() {
        let (mut buckets, now) = (Buckets { most: 2, ..Buckets::default() }, Instant::now());
        let pace = Pace { per_second: 1, burst: 2 };

        assert!((0..4).all(|who| buckets.take(who, pace, now).is_ok()));
        assert!(buckets.take(9, pace, now).is_err(), "the third and the fourth used up the rest's");
        assert!(buckets.take(0, pace, now).is_ok(), "the first has one of its own");
        assert_eq!(buckets.full_at.len(), 2);
        assert!(buckets.take(9, pace, now + Duration::from_secs(5)).is_ok());
        assert_eq!(buckets.full_at.len(), 1);
    }

    #[test]
    fn a_network_of_version_6_is_one_address() {
        let of = |text: &str| network_of(text.parse().unwrap()).to_string();

        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(of("203.0.113.9"), "203.0.113.9");
    }
}
