//! Turns at something there is little of, shared fairly: whoever waits gets the next turn of the tenant that has the fewest,
//! and nobody may have all of them.
//!
//! Invariant: a turn that is free is never kept from somebody who may have it, and a tenant's queue never delays another's.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shared_models::TenantId;
use tokio::sync::oneshot;

/// So many turns at the same time. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    free: usize,
    /// The most that one tenant has at the same time.
    most: usize,
    taken: HashMap<TenantId, usize>,
    /// Tenants that wait; whoever got a turn last is at the end.
    waiting: VecDeque<(TenantId, VecDeque<oneshot::Sender<Turn>>)>,
}

/// A turn; over when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    tenant: TenantId,
    turns: Turns,
}

impl Turns {
    /// As many as `count`, of which a tenant has all but one at most.
    pub(crate) fn new(count: usize) -> Self {
        let most = count.saturating_sub(1).max(1);
        let (taken, waiting) = (HashMap::new(), VecDeque::new());
        Self(Arc::new(Mutex::new(Table { free: count, most, taken, waiting })))
    }

    /// Waits for a turn. Whoever stops waiting leaves the queue.
    pub(crate) async fn wait(&self, tenant: TenantId) -> Turn {
        loop {
            // Nobody drops the sender of one who waits.
            if let Ok(turn) = self.queue_up(tenant).await {
                return turn;
            }
        }
    }

    fn queue_up(&self, tenant: TenantId) -> oneshot::Receiver<Turn> {
        let (sender, turn) = oneshot::channel();
        let mut table = self.table();
        match table.waiting.iter_mut().find(|(of, _)| *of == tenant) {
            Some((_, queue)) => queue.push_back(sender),
            None => table.waiting.push_back((tenant, VecDeque::from([sender]))),
        }
        self.hand_out(table);
        turn
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(&self, mut table: MutexGuard<'_, Table>) {
        let mut refused = Vec::new();
        while let Some((tenant, sender)) = table.next() {
            // Who left in this very moment gets it back here: it is over once nobody holds the lock.
            refused.extend(sender.send(Turn { tenant, turns: self.clone() }).err());
        }
        drop(table);
    }
}

impl Table {
    /// Who is next, if there is a turn left for anybody who waits.
    fn next(&mut self) -> Option<(TenantId, oneshot::Sender<Turn>)> {
        if self.free == 0 {
            return None;
        }
        self.waiting.retain_mut(|(_, queue)| {
            queue.retain(|sender| !sender.is_closed());
            !queue.is_empty()
        });
        let has = |tenant: &TenantId| self.taken.get(tenant).copied().unwrap_or_default();
        let places = self.waiting.iter().enumerate().map(|(place, (of, _))| (has(of), place));
        let (_, place) = places.filter(|(has, _)| *has < self.most).min()?;
        let (tenant, mut queue) = self.waiting.remove(place)?;
        let sender = queue.pop_front()?;
        if !queue.is_empty() {
            self.waiting.push_back((tenant, queue));
        }
        self.free -= 1;
        *self.taken.entry(tenant).or_default() += 1;
        Some((tenant, sender))
    }

    fn give_back(&mut self, tenant: TenantId) {
        self.free += 1;
        if let Some(count) = self.taken.get_mut(&tenant) {
            *count -= 1;
            if *count == 0 {
                self.taken.remove(&tenant);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut table = self.turns.table();
        table.give_back(self.tenant);
        self.turns.hand_out(table);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::{FutureExt as _, poll};

    use super::*;

    #[tokio::test]
    async fn one_tenant_never_has_all_turns_and_the_next_goes_to_who_has_fewest() {
        let (turns, busy, other) = (Turns::new(3), TenantId::mint(), TenantId::mint());
        let first = turns.wait(busy).await;
        let second = turns.wait(busy).await;
        let mut third = Box::pin(turns.wait(busy));
        assert!(poll!(&mut third).is_pending(), "the last one is not for it");

        let theirs = turns.wait(other).await;
        let mut more = Box::pin(turns.wait(other));
        assert!(poll!(&mut more).is_pending());
        drop(first);
        // Both have one now, and the busy one asked first.
        let Poll::Ready(third) = poll!(&mut third) else { panic!("it is its turn") };
        assert!(poll!(&mut more).is_pending());
        drop(second);
        assert!(poll!(&mut more).is_ready());
        drop((theirs, third));
    }

    #[tokio::test]
    async fn a_queue_of_one_tenant_does_not_delay_another() {
        let (turns, busy, other) = (Turns::new(2), TenantId::mint(), TenantId::mint());
        let held = turns.wait(busy).await;
        let mut queue: Vec<_> = (0..50).map(|_| Box::pin(turns.wait(busy))).collect();
        for waiting in &mut queue {
            assert!(poll!(waiting).is_pending());
        }

        assert!(turns.wait(other).now_or_never().is_some());

        drop(held);
        let mut got = 0;
        for waiting in queue {
            // Each is dropped at once, which lets in the next.
            got += usize::from(waiting.now_or_never().is_some());
        }
        assert_eq!(got, 50);
    }

    #[tokio::test]
    async fn who_stops_waiting_keeps_nothing() {
        let (turns, one, other) = (Turns::new(2), TenantId::mint(), TenantId::mint());
        let held = turns.wait(one).await;
        let mut gone = Box::pin(turns.wait(one));
        assert!(poll!(&mut gone).is_pending());
        drop(gone);
        // One that was handed over but never looked at comes back as well.
        let mut handed = Box::pin(turns.wait(one));
        assert!(poll!(&mut handed).is_pending());
        drop(held);
        drop(handed);

        let _first = turns.wait(other).now_or_never().expect("a turn");
        let _second = turns.wait(one).now_or_never().expect("another");
        let table = turns.table();
        assert_eq!((table.free, table.waiting.len(), table.taken.len()), (0, 0, 2));
    }
}
