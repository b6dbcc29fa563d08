//! What may be used up, and by whom: the one place that is asked before something is used, and that counts it after.
//!
//! A budget has a limit (a *line*) for each quantity that somebody has limited; what nobody has limited costs nothing.
//! Before a call its worst case is set aside on every line that it draws on; what it took is written with the
//! journal's record of it; the rest comes back. While a line is far from its end a worker sets aside a *slab*, which
//! its runs draw on without asking the database; near the end each call is set aside for itself.
//!
//! Invariant: what is spent and what is set aside never exceed the cap together, but for what calls took beyond what was set
//! aside for them, and that is written down as the line's overshoot. A cap that is lowered binds what is set aside from then on.

mod account;
mod book;
mod estimate;
mod grant;
mod hold;
mod ledger;
mod model_call;
mod request;
#[cfg(test)]
mod schedule_tests;
#[cfg(test)]
mod wait_tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dbutil::Db;
use shared_models::{BudgetId, RunId, TenantId, WorkerId};
use uuid::Uuid;

pub(crate) use account::{Account, Accounts, Changed, Level, Period, Quantity, RunCap, run_budget};
use book::reached;
pub(crate) use book::{Held, Line};
use estimate::input_tokens;
pub(crate) use grant::{Grant, Till, broke_off};
pub(crate) use hold::{Draw, Drawn};
use hold::{Hold, Returned};
pub(crate) use ledger::{Open, Rouse, Short, settle};
pub(crate) use model_call::{LEAST_TIME, ModelCall, Refused, Says, slice};
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
    /// The run, in which epoch; none for a call that no run makes. That one does not wait, but is refused.
    pub(crate) own: Option<(RunId, i32)>,
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
    accounts: Mutex<Known>,
    slabs: Mutex<Slabs>,
    returned: Returned,
    /// Holds that the database may have of us. What it has beyond them is nobody's.
    live: Mutex<HashSet<Uuid>>,
    /// Those who want the same wait for each other here rather than in the database.
    stripes: [tokio::sync::Mutex<()>; 16],
    /// The same for those who read a tenant's accounts.
    readers: [tokio::sync::Mutex<()>; 16],
}

/// Accounts that were read a moment ago.
#[derive(Default)]
struct Known {
    /// Rises with each edit through this process.
    edits: u64,
    of: HashMap<TenantId, Arc<Accounts>>,
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
            readers: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
        }
    }

    /// The budgets of a tenant and of the platform, as they were a moment ago. An edit through this process is seen at once.
    pub(crate) async fn accounts(
        &self,
        db: &Db,
        tenant: TenantId,
    ) -> Result<Arc<Accounts>, sqlx::Error> {
        if let Some(accounts) = self.known(tenant) {
            return Ok(accounts);
        }
        let _turn = turn(&self.readers, tenant.uuid()).await;
        // Whoever was before us may have read them for all.
        if let Some(accounts) = self.known(tenant) {
            return Ok(accounts);
        }
        let edits = lock(&self.accounts).edits;
        let accounts = Arc::new(Accounts::read(db, tenant).await?);
        let mut known = lock(&self.accounts);
        // What was read before an edit is for whoever asked before it, and for nobody else.
        if known.edits == edits {
            if known.of.len() >= MOST {
                known.of.retain(|_, accounts| accounts.is_fresh());
            }
            known.of.insert(tenant, accounts.clone());
        }
        Ok(accounts)
    }

    fn known(&self, tenant: TenantId) -> Option<Arc<Accounts>> {
        lock(&self.accounts).of.get(&tenant).filter(|accounts| accounts.is_fresh()).cloned()
    }

    /// Reads which budgets there are anew the next time: one tenant's, or everybody's after a change of the platform's.
    pub(crate) fn forget(&self, tenant: Option<TenantId>) {
        let mut known = lock(&self.accounts);
        known.edits += 1;
        match tenant {
            Some(tenant) => drop(known.of.remove(&tenant)),
            None => known.of.clear(),
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
        let _turn = turn(&self.stripes, first.budget.uuid()).await;
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
        let mut asking = Asking { budgets: self, back, announced: Vec::new() };
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
            asking.announced.push(id);
        });
        let (granted, rouse) = done.await?;
        asking.answered();
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
            if let Some(draw) = slabs.of.get(key).and_then(|slab| Draw::from(slab, need)) {
                draws.push((*key, Arc::new(draw)));
            } else {
                slabs.of.remove(key);
                missing.push(*key);
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
        let before: HashSet<Uuid> = lock(&self.slabs).of.values().map(|slab| slab.id()).collect();
        let ours = ledger::held_by(db, self.worker).await?;
        let wanted = ledger::wanted(db, self.worker).await?;
        // A limit that was taken away took what was set aside with it; nothing may be drawn on that when it is set again.
        let known: HashSet<Uuid> = ours.iter().map(|(hold, _)| *hold).collect();
        let is_gone = |slab: Uuid| before.contains(&slab) && !known.contains(&slab);
        lock(&self.slabs).of.retain(|key, slab| {
            slab.is_in_use() && !wanted.contains(&key.budget) && !is_gone(slab.id())
        });
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
        let mut asking = Asking { budgets: self, back: closing, announced: Vec::new() };
        let rouse = settle(db, &budgets, &holds).await?;
        asking.answered();
        self.closed(&holds);
        Ok(rouse)
    }
}

/// The database is being asked. Whoever asks may stop waiting at any moment, or never hear whether it was done: what was to be
/// given back is then to be given back still, and what was set aside is nobody's.
struct Asking<'b> {
    budgets: &'b Budgets,
    back: Vec<(Uuid, BudgetId)>,
    announced: Vec<Uuid>,
}

impl Asking<'_> {
    fn answered(&mut self) {
        self.back.clear();
        self.announced.clear();
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.budgets.returned.add(self.back.drain(..));
        self.budgets.closed(&self.announced);
    }
}

type Turn<'t> = tokio::sync::MutexGuard<'t, ()>;

/// One at a time of those who want the same.
async fn turn(stripes: &[tokio::sync::Mutex<()>; 16], of: Uuid) -> Option<Turn<'_>> {
    match stripes.get(of.as_u128() as usize % stripes.len()) {
        Some(stripe) => Some(stripe.lock().await),
        None => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
