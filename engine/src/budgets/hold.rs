//! What is set aside, in this process's memory. The database has the same, as a row that lasts as long as the worker.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shared_models::BudgetId;
use uuid::Uuid;

use super::Key;

/// Something set aside: for one call, or a slab for many. Returned when the last that draws on it has ended.
#[derive(Debug)]
pub(super) struct Hold {
    id: Uuid,
    key: Key,
    left: AtomicI64,
    /// Drawn on since somebody asked for it the last time.
    in_use: AtomicBool,
    returned: Returned,
}

impl Hold {
    pub(super) fn new(id: Uuid, key: Key, amount: i64, returned: Returned) -> Arc<Self> {
        let (left, in_use) = (AtomicI64::new(amount), AtomicBool::new(true));
        Arc::new(Self { id, key, left, in_use, returned })
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn is_in_use(self: &Arc<Self>) -> bool {
        self.in_use.swap(false, Ordering::AcqRel) || Arc::strong_count(self) > 1
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.returned.add([(self.id, self.key.budget)]);
    }
}

/// A call's share of a hold. What it has not used goes back when the draw is dropped: for one that was settled, once the
/// record of it is durable or lost.
#[derive(Debug)]
pub(crate) struct Draw {
    hold: Arc<Hold>,
    reserved: i64,
    used: AtomicI64,
}

impl Draw {
    /// None when the hold has not so much left.
    pub(super) fn from(hold: &Arc<Hold>, amount: i64) -> Option<Self> {
        let enough = |left: i64| (left >= amount).then(|| left - amount);
        hold.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, enough).ok()?;
        hold.in_use.store(true, Ordering::Release);
        Some(Self { hold: hold.clone(), reserved: amount, used: AtomicI64::new(0) })
    }

    pub(crate) fn reserved(&self) -> i64 {
        self.reserved
    }

    /// What the call took, to be written with the record of it.
    pub(crate) fn settle(self: &Arc<Self>, amount: i64) -> Drawn {
        let amount = amount.max(0);
        self.used.fetch_add(amount, Ordering::AcqRel);
        Drawn { key: self.hold.key, hold: self.hold.id, amount, _draw: self.clone() }
    }
}

impl Drop for Draw {
    fn drop(&mut self) {
        let rest = self.reserved - self.used.load(Ordering::Acquire);
        self.hold.left.fetch_add(rest, Ordering::AcqRel);
    }
}

/// A part of a journal's append: the draw lasts until that is durable.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) key: Key,
    pub(crate) hold: Uuid,
    pub(crate) amount: i64,
    _draw: Arc<Draw>,
}

/// Holds that nothing draws on any more, until the database is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Returned(Arc<Mutex<Vec<(Uuid, BudgetId)>>>);

impl Returned {
    pub(super) fn add(&self, holds: impl IntoIterator<Item = (Uuid, BudgetId)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(holds);
    }

    pub(super) fn take_all(&self) -> Vec<(Uuid, BudgetId)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those of some budgets.
    pub(super) fn take(&self, wanted: impl Fn(BudgetId) -> bool) -> Vec<(Uuid, BudgetId)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = std::mem::take(&mut *all).into_iter().partition(|(_, of)| wanted(*of));
        *all = left;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budgets::Quantity;

    #[test]
    fn a_hold_is_drawn_on_until_it_is_used_up_and_returned_when_the_last_draw_has_ended() {
        let key = Key { budget: BudgetId::mint(), quantity: Quantity::Tokens };
        let returned = Returned::default();
        let hold = Hold::new(Uuid::nil(), key, 100, returned.clone());

        let one = Arc::new(Draw::from(&hold, 60).unwrap());
        assert!(Draw::from(&hold, 60).is_none());
        let written = one.settle(20);
        drop(one);
        assert!(Draw::from(&hold, 60).is_none(), "until what it took is durable");
        drop(written);
        let other = Draw::from(&hold, 80).unwrap();
        assert!(Draw::from(&hold, 1).is_none());

        drop(hold);
        assert!(returned.take_all().is_empty());
        drop(other);
        assert_eq!(returned.take_all(), [(Uuid::nil(), key.budget)]);
    }
}
