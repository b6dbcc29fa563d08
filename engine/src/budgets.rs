//! What may be used up, and by whom: the one place that is asked before something is used, and that counts it after.
//!
//! A budget has a limit (a *line*) for each quantity that somebody has limited; what nobody has limited costs nothing.
//! Before a call its worst case is set aside on every line that it draws on; what it took is written with the
//! journal's record of it; the rest comes back. While a line is far from its end a worker sets aside a *slab*, which
//! its runs draw on without asking the database; near the end each call is set aside for itself.
//!
//! Invariant: what is spent and what is set aside never exceed the cap together, but for what calls took beyond what was set
//! aside for them, and that is written down as the line's overshoot.

mod account;
mod book;
mod estimate;
mod hold;
mod ledger;
mod request;
#[cfg(test)]
mod schedule_tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dbutil::Db;
use shared_models::{BudgetId, RunId, TenantId, WorkerId};
use uuid::Uuid;

pub(crate) use account::{Account, Accounts, Level, Period, Quantity, RunCap, run_budget};
use book::reached;
pub(crate) use book::{Held, Line};
pub(crate) use estimate::input_tokens;
pub(crate) use hold::{Draw, Drawn};
use hold::{Hold, Returned};
pub(crate) use ledger::{Open, Rouse, Short, settle};
pub(crate) use request::{Request, Want};

/// A limit of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) budget: BudgetId,
    pub(crate) quantity: Quantity,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) tenant: TenantId,
    pub(crate) run: RunId,
    pub(crate) epoch: i32,
    /// Of the worker's lease: slabs of an earlier one are somebody else's by now.
    pub(crate) lapses: u64,
}

/// What may be used.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// Tokens of output, of those asked for.
    pub(crate) output: u32,
    pub(crate) draws: Vec<(Key, Arc<Draw>)>,
}

/// An answer, and whom it concerns besides.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reserved: Result<Reserved, Vec<Short>>,
    pub(crate) rouse: Rouse,
}

/// What this worker has set aside. Shared by all that asks.
pub(crate) struct Budgets {
    worker: WorkerId,
    accounts: Mutex<HashMap<TenantId, Arc<Accounts>>>,
    slabs: Mutex<Slabs>,
    returned: Returned,
    /// Holds that the database may have of us. What it has beyond them is nobody's.
    live: Mutex<HashSet<Uuid>>,
    /// Those who want the same wait for each other here rather than in the database.
    stripes: [tokio::sync::Mutex<()>; 16],
}

#[derive(Default)]
struct Slabs {
    lapses: u64,
    of: HashMap<Key, Arc<Hold>>,
}

/// Accounts of tenants that have been quiet are forgotten beyond so many.
const MOST: usize = 10_000;

impl Budgets {
    pub(crate) fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            accounts: Mutex::default(),
            slabs: Mutex::default(),
            returned: Returned::default(),
            live: Mutex::default(),
            stripes: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
        }
    }

    /// The budgets of a tenant and of the platform, as they were a moment ago. An edit through this process is seen at once.
    pub(crate) async fn accounts(
        &self,
        db: &Db,
        tenant: TenantId,
    ) -> Result<Arc<Accounts>, sqlx::Error> {
        let known = lock(&self.accounts).get(&tenant).cloned();
        if let Some(accounts) = known.filter(|accounts| accounts.is_fresh()) {
            return Ok(accounts);
        }
        let accounts = Arc::new(Accounts::read(db, tenant).await?);
        let mut all = lock(&self.accounts);
        if all.len() >= MOST {
            all.retain(|_, accounts| accounts.is_fresh());
        }
        all.insert(tenant, accounts.clone());
        Ok(accounts)
    }

    /// Reads which budgets there are anew the next time: one tenant's, or everybody's after a change of the platform's.
    pub(crate) fn forget(&self, tenant: Option<TenantId>) {
        let mut all = lock(&self.accounts);
        match tenant {
            Some(tenant) => drop(all.remove(&tenant)),
            None => all.clear(),
        }
    }

    /// Sets aside what a call may take on each of these lines, or nothing at all.
    pub(crate) async fn reserve(
        &self,
        db: &Db,
        asker: &Asker,
        (lines, caps): (&[Key], &[RunCap]),
        request: &Request,
    ) -> Result<Answer, sqlx::Error> {
        let (mut draws, missing) = self.draw(asker, lines, request);
        let Some(first) = missing.first() else {
            let reserved = Ok(Reserved { output: request.output, draws });
            return Ok(Answer { reserved, rouse: Rouse::default() });
        };
        let stripe = first.budget.uuid().as_u128() as usize % self.stripes.len();
        let _turn = match self.stripes.get(stripe) {
            Some(stripe) => Some(stripe.lock().await),
            None => None,
        };
        // Whoever was before us may have brought enough for both.
        let (more, missing) = self.draw(asker, &missing, request);
        draws.extend(more);
        if missing.is_empty() {
            let reserved = Ok(Reserved { output: request.output, draws });
            return Ok(Answer { reserved, rouse: Rouse::default() });
        }
        let budgets: BTreeSet<BudgetId> = missing.iter().map(|key| key.budget).collect();
        let back = self.returned.take(|budget| budgets.contains(&budget));
        let closing: Vec<Uuid> = back.iter().map(|(hold, _)| *hold).collect();
        let asked = ledger::Asked {
            worker: self.worker,
            asker,
            lines: &missing,
            caps,
            request,
            closing: &closing,
        };
        let done = ledger::reserve(db, &asked, |id| {
            lock(&self.live).insert(id);
        });
        let (granted, rouse) = match done.await {
            Ok(done) => done,
            Err(error) => {
                self.returned.add(back);
                return Err(error);
            }
        };
        self.closed(&closing);
        let reserved = granted.map(|granted| {
            draws.extend(granted.holds.into_iter().filter_map(|held| self.begin(asker, held)));
            Reserved { output: granted.output, draws }
        });
        Ok(Answer { reserved, rouse })
    }

    /// Draws on slabs; says which lines have none that is large enough. Such a slab is given up.
    fn draw(
        &self,
        asker: &Asker,
        lines: &[Key],
        request: &Request,
    ) -> (Vec<(Key, Arc<Draw>)>, Vec<Key>) {
        let mut slabs = lock(&self.slabs);
        if slabs.lapses != asker.lapses {
            *slabs = Slabs { lapses: asker.lapses, of: HashMap::new() };
        }
        let (mut draws, mut missing) = (Vec::with_capacity(lines.len()), Vec::new());
        for key in lines {
            let Some(need) = request.need(key.quantity) else { continue };
            match slabs.of.get(key).and_then(|slab| Draw::from(slab, need)) {
                Some(draw) => draws.push((*key, Arc::new(draw))),
                None => {
                    slabs.of.remove(key);
                    missing.push(*key);
                }
            }
        }
        missing.sort_unstable();
        (draws, missing)
    }

    /// Takes over what the ledger has set aside.
    fn begin(&self, asker: &Asker, held: ledger::Granted) -> Option<(Key, Arc<Draw>)> {
        let ledger::Granted { hold, key, amount, call, slab } = held;
        let hold = Hold::new(hold, key, amount, self.returned.clone());
        let draw = Draw::from(&hold, call)?;
        if slab {
            let mut slabs = lock(&self.slabs);
            if slabs.lapses == asker.lapses {
                slabs.of.insert(key, hold);
            }
        }
        Some((key, Arc::new(draw)))
    }

    fn closed(&self, holds: &[Uuid]) {
        let mut live = lock(&self.live);
        for hold in holds {
            live.remove(hold);
        }
    }

    /// Gives back what is not needed: what calls have left, slabs that nobody has drawn on since the last time or that somebody
    /// else waits for, and what the database has of us that we do not know of.
    pub(crate) async fn tidy(&self, db: &Db) -> Result<Rouse, sqlx::Error> {
        // Read before the others: what is set aside meanwhile is not in it.
        let ours = ledger::held_by(db, self.worker).await?;
        let wanted = ledger::wanted(db, self.worker).await?;
        {
            let mut slabs = lock(&self.slabs);
            slabs.of.retain(|key, slab| slab.is_in_use() && !wanted.contains(&key.budget));
        }
        let mut closing = self.returned.take_all();
        {
            let live = lock(&self.live);
            closing.extend(ours.into_iter().filter(|(hold, _)| !live.contains(hold)));
        }
        if closing.is_empty() {
            return Ok(Rouse::default());
        }
        let budgets: Vec<BudgetId> = closing
            .iter()
            .map(|(_, budget)| *budget)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let holds: Vec<Uuid> = closing.iter().map(|(hold, _)| *hold).collect();
        match settle(db, &budgets, &holds).await {
            Ok(rouse) => {
                self.closed(&holds);
                Ok(rouse)
            }
            Err(error) => {
                self.returned.add(closing);
                Err(error)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
