//! The arithmetic of lines. Whoever does it holds the budgets' rows locked.

use shared_models::TenantId;
use uuid::Uuid;

use super::Key;

/// A limit, and how far it is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) key: Key,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) cap: i64,
    pub(crate) spent: i64,
    /// The sum of what is set aside.
    pub(crate) held: i64,
    /// What calls took beyond what was set aside for them.
    pub(crate) overshoot: i64,
    /// The highest part, in per cent, that has been told of.
    pub(crate) warned: i16,
}

/// Something set aside, as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) hold: Uuid,
    pub(crate) key: Key,
    pub(crate) amount: i64,
}

/// A slab is at most this part of what is left: far from the end many calls, near it less than one.
const SLAB: i64 = 16;

/// The parts of a cap, in per cent, that are told of.
const TOLD: [i16; 3] = [100, 80, 50];

impl Line {
    #[cfg(test)]
    pub(super) fn empty(key: Key) -> Self {
        Self { key, tenant: None, cap: 0, spent: 0, held: 0, overshoot: 0, warned: 0 }
    }

    /// What is neither spent nor set aside; negative when the cap was lowered or overshot.
    pub(crate) fn room(&self) -> i64 {
        self.cap.saturating_sub(self.spent).saturating_sub(self.held)
    }

    /// Begins a new period. What is set aside stays so, and is spent in the new one.
    pub(super) fn turn(&mut self) {
        (self.spent, self.overshoot, self.warned) = (0, 0, 0);
    }

    /// Adds what calls have taken out of a hold; what it does not cover is overshoot.
    pub(super) fn spend(&mut self, amount: i64, held: Option<&mut Held>) {
        let covered = held.map_or(0, |held| {
            let covered = amount.min(held.amount);
            held.amount -= covered;
            covered
        });
        self.held -= covered;
        self.spent = self.spent.saturating_add(amount);
        self.overshoot = self.overshoot.saturating_add(amount - covered);
    }

    /// How large a slab may be of which a call takes so much; none near the end.
    pub(super) fn slab(&self, call: i64) -> Option<i64> {
        Some(self.room() / SLAB).filter(|slab| *slab >= call && *slab > 0)
    }

    /// The part that is newly used up, if that is to be told.
    pub(super) fn news(&mut self) -> Option<i16> {
        let reached = reached(self.spent, self.cap);
        if reached <= self.warned {
            return None;
        }
        self.warned = reached;
        Some(reached)
    }

    /// The same when there is too little left for what somebody wants.
    pub(super) fn exhausted(&mut self) -> Option<i16> {
        let news = self.warned < 100;
        self.warned = 100;
        news.then_some(100)
    }
}

/// The highest part that is told of and has been reached.
pub(super) fn reached(spent: i64, cap: i64) -> i16 {
    let used = percent(spent, cap);
    TOLD.into_iter().find(|part| used >= i64::from(*part)).unwrap_or(0)
}

/// How much of a cap is used up, in per cent, rounded down.
fn percent(spent: i64, cap: i64) -> i64 {
    let percent = i128::from(spent) * 100 / i128::from(cap.max(1));
    i64::try_from(percent).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_models::BudgetId;

    use super::*;
    use crate::budgets::Quantity;

    fn key() -> Key {
        Key { budget: BudgetId::mint(), quantity: Quantity::Cost }
    }

    #[test]
    fn each_part_is_told_of_once() {
        let mut line = Line { cap: 100, ..Line::empty(key()) };
        let mut told = Vec::new();
        for _ in 0..12 {
            line.spend(10, None);
            told.extend(line.news());
        }
        assert_eq!(told, [50, 80, 100]);
        assert_eq!(line.exhausted(), None);
        line.turn();
        assert_eq!((line.news(), line.exhausted(), line.exhausted()), (None, Some(100), None));
    }

    #[test]
    fn slabs_end_before_the_cap_does() {
        let line = |spent| Line { cap: 1_600, spent, ..Line::empty(key()) };
        assert_eq!(line(0).slab(10), Some(100));
        assert_eq!(line(1_440).slab(10), Some(10));
        assert_eq!(line(1_456).slab(10), None);
        assert_eq!(line(1_600).slab(0), None);
    }

    proptest! {
        /// Whatever is set aside, taken and given back in whatever order: cap, spent, held and overshoot agree.
        #[test]
        fn nothing_is_lost_and_nothing_exceeds_the_cap(
            cap in 1_i64..10_000,
            calls in proptest::collection::vec((1_i64..500, 0_i64..700, any::<bool>()), 1..200),
        ) {
            let mut line = Line { cap, ..Line::empty(key()) };
            let (mut open, mut taken): (Vec<Held>, i64) = (Vec::new(), 0);
            for (want, used, ends) in calls {
                if line.room() >= want {
                    line.held += want;
                    open.push(Held { hold: Uuid::nil(), key: line.key, amount: want });
                }
                if let Some(mut held) = ends.then(|| open.pop()).flatten() {
                    line.spend(used, Some(&mut held));
                    line.held -= held.amount;
                    taken += used;
                }
                prop_assert_eq!(line.held, open.iter().map(|held| held.amount).sum::<i64>());
                prop_assert_eq!(line.spent, taken);
                prop_assert!(line.spent + line.held <= cap + line.overshoot);
            }
        }
    }
}
