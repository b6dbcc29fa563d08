//! What is set aside and given back, in the database: each time one transaction that holds the budgets' rows.
//!
//! Whatever is decided is decided of rows that were read after the locks were had, and budgets are always locked in the same
//! order. Runs are locked after budgets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dbutil::{Db, SystemTx};
use serde::{Deserialize, Serialize};
use shared_models::{BudgetId, RunId, TenantId, WorkerId};
use uuid::Uuid;

use super::account::{Level, Quantity, RunCap};
use super::book::{Held, Line};
use super::{Asker, Key, Request};
use crate::store::budget_hold::{self, NewHold};
use crate::store::budget_ledger::{self as store, Spent, Told};

/// What a run is short of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Short {
    pub(crate) budget_id: BudgetId,
    pub(crate) level: Level,
    pub(crate) quantity: Quantity,
    /// What it needs for its next step, at least.
    pub(crate) need: i64,
    /// What is neither used up nor set aside for others.
    pub(crate) left: i64,
    pub(crate) cap: i64,
    /// What is set aside for others, and may come back soon.
    #[serde(skip)]
    pub(crate) held: i64,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, quantity, need, left, .. } = self;
        let (name, need, left) = (quantity.wire(), quantity.shown(*need), quantity.shown(*left));
        write!(f, "a budget of the {level} has {left} {name} left, and the call may take {need}")
    }
}

pub(super) struct Asked<'a> {
    pub(super) worker: WorkerId,
    pub(super) asker: &'a Asker,
    pub(super) lines: &'a [Key],
    pub(super) caps: &'a [RunCap],
    pub(super) request: &'a Request,
    pub(super) closing: &'a [Uuid],
}

/// A new hold.
pub(super) struct Granted {
    pub(super) hold: Uuid,
    pub(super) key: Key,
    pub(super) amount: i64,
    /// What of it is for the call that asked.
    pub(super) call: i64,
    pub(super) slab: bool,
}

pub(super) struct Grants {
    pub(super) output: u32,
    pub(super) holds: Vec<Granted>,
}

/// Whom a change concerns: after the commit these are to be told.
#[derive(Debug, Default)]
pub(crate) struct Rouse {
    /// Runs that are queued again, or will hear of it where they are driven.
    pub(crate) runs: Vec<RunId>,
    /// Events are in the outbox.
    pub(crate) events: bool,
}

/// Budgets whose rows are locked, brought up to date.
pub(crate) struct Open {
    budgets: BTreeMap<BudgetId, store::Locked>,
    pub(crate) lines: BTreeMap<Key, Line>,
    /// Budgets that may have more room than before: somebody may be waiting for it.
    freed: BTreeSet<BudgetId>,
    news: Vec<(Key, i16)>,
}

/// Sets aside what is asked for on all lines, or says which are short. `announce` is told of each hold before it is written.
pub(super) async fn reserve(
    db: &Db,
    asked: &Asked<'_>,
    mut announce: impl FnMut(Uuid),
) -> Result<(Result<Grants, Vec<Short>>, Rouse), sqlx::Error> {
    let mut tx = db.system("setting aside of budgets").await?;
    let ids: BTreeSet<BudgetId> = asked.lines.iter().map(|key| key.budget).collect();
    let caps: Vec<&RunCap> = asked.caps.iter().filter(|cap| ids.contains(&cap.id())).collect();
    store::make_run_budgets(&mut tx, asked.asker.tenant, &caps).await?;
    let mut open = Open::read(&mut tx, &ids, asked.closing, asked.asker.own).await?;
    let lines = || asked.lines.iter().filter_map(|key| open.lines.get(key));
    let granted: Result<Grants, Vec<Short>> = match asked.request.fit(lines()) {
        Ok(output) => Ok(grant(asked.request, output, lines())),
        Err(short) => Err(short.into_iter().map(|(line, need)| open.short(line, need)).collect()),
    };
    match &granted {
        Ok(grants) => {
            for hold in &grants.holds {
                announce(hold.hold);
                if let Some(line) = open.lines.get_mut(&hold.key) {
                    line.held += hold.amount;
                }
            }
            let holds: Vec<NewHold> =
                grants.holds.iter().map(|hold| new_hold(asked, &open, hold)).collect();
            budget_hold::insert(&mut tx, &holds).await?;
        }
        Err(short) => {
            open.note_exhausted(short);
            if let Some((run, _)) = asked.asker.own {
                store::add_waits(&mut tx, asked.asker.tenant, run, short).await?;
            }
        }
    }
    let rouse = open.write(&mut tx).await?;
    tx.commit().await?;
    Ok((granted, rouse))
}

fn grant<'l>(request: &Request, output: u32, lines: impl Iterator<Item = &'l Line>) -> Grants {
    let holds = lines.filter_map(|line| {
        let call = request.share(line, output)?;
        let slab = line.slab(call);
        let (hold, amount) = (new_id(), slab.unwrap_or(call));
        Some(Granted { hold, key: line.key, amount, call, slab: slab.is_some() })
    });
    Grants { output, holds: holds.collect() }
}

#[allow(clippy::disallowed_methods, reason = "ids of rows that nobody sees")]
fn new_id() -> Uuid {
    Uuid::now_v7()
}

fn new_hold(asked: &Asked<'_>, open: &Open, granted: &Granted) -> NewHold {
    let own = asked.asker.own.filter(|_| !granted.slab);
    NewHold {
        hold: granted.hold,
        key: granted.key,
        tenant: open.lines.get(&granted.key).and_then(|line| line.tenant),
        worker: asked.worker,
        own,
        amount: granted.amount,
    }
}

/// Brings budgets up to date, gives these holds back, and those of workers that are gone.
pub(crate) async fn settle(
    db: &Db,
    budgets: &[BudgetId],
    closing: &[Uuid],
) -> Result<Rouse, sqlx::Error> {
    let mut tx = db.system("settling budgets").await?;
    let ids = budgets.iter().copied().collect();
    let mut open = Open::read(&mut tx, &ids, closing, None).await?;
    open.freed = ids;
    let rouse = open.write(&mut tx).await?;
    tx.commit().await?;
    Ok(rouse)
}

/// What the database has as held by a worker.
pub(super) async fn held_by(
    db: &Db,
    worker: WorkerId,
) -> Result<Vec<(Uuid, BudgetId)>, sqlx::Error> {
    budget_hold::held_by(db, worker).await
}

/// Of the budgets that a worker holds something of, those that runs are short of.
pub(super) async fn wanted(db: &Db, worker: WorkerId) -> Result<BTreeSet<BudgetId>, sqlx::Error> {
    Ok(budget_hold::wanted(db, worker).await?.into_iter().collect())
}

impl Open {
    /// Locks the budgets and adds up what has happened to them since the last time. Holds of earlier epochs of `own` are given
    /// back too.
    pub(crate) async fn read(
        tx: &mut SystemTx,
        ids: &BTreeSet<BudgetId>,
        closing: &[Uuid],
        own: Option<(RunId, i32)>,
    ) -> Result<Self, sqlx::Error> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        let locked = store::lock(tx, &ids).await?;
        // One that somebody makes just now is not locked, and so is not for us to change.
        let ids: Vec<Uuid> = locked.iter().map(|row| row.budget_id.uuid()).collect();
        let spending = store::take_spending(tx, &ids).await?;
        let lines = store::lines(tx, &ids).await?;
        let spent_of: Vec<Uuid> = spending.iter().map(|spent| spent.hold).collect();
        let holds = budget_hold::concerned(tx, &ids, (&spent_of, closing), own).await?;
        let mut open = Self {
            budgets: locked.into_iter().map(|row| (row.budget_id, row)).collect(),
            lines: lines.into_iter().map(|line| (line.key, line)).collect(),
            freed: BTreeSet::new(),
            news: Vec::new(),
        };
        open.turn();
        let mut held: BTreeMap<Uuid, (Held, bool)> =
            holds.into_iter().map(|row| (row.held.hold, (row.held, row.over))).collect();
        open.fold(&spending, &mut held);
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        for (held, over) in held.into_values() {
            if over {
                open.give_back(&held);
                gone.push(held.hold);
            } else {
                left.push(held);
            }
        }
        budget_hold::change(tx, &gone, &left).await?;
        Ok(open)
    }

    /// Begins the periods anew that are over.
    fn turn(&mut self) {
        for (id, budget) in &self.budgets {
            if !budget.turns() {
                continue;
            }
            for line in self.lines.values_mut().filter(|line| line.key.budget == *id) {
                line.turn();
                self.freed.insert(line.key.budget);
            }
        }
    }

    fn fold(&mut self, spending: &[Spent], held: &mut BTreeMap<Uuid, (Held, bool)>) {
        for spent in spending {
            let Some(line) = self.lines.get_mut(&spent.key) else { continue };
            line.spend(spent.amount, held.get_mut(&spent.hold).map(|(held, _)| held));
        }
        for line in self.lines.values_mut() {
            self.news.extend(line.news().map(|part| (line.key, part)));
        }
    }

    fn give_back(&mut self, held: &Held) {
        if let Some(line) = self.lines.get_mut(&held.key) {
            line.held -= held.amount;
            self.freed.insert(held.key.budget);
        }
    }

    fn short(&self, line: &Line, need: i64) -> Short {
        let level = self.budgets.get(&line.key.budget).map_or(Level::Run, |budget| budget.level);
        Short {
            budget_id: line.key.budget,
            level,
            quantity: line.key.quantity,
            need,
            left: line.room().max(0),
            cap: line.cap,
            held: line.held,
        }
    }

    /// Tells of lines that are at their end; one that has only been set aside for others may be free in a moment.
    fn note_exhausted(&mut self, short: &[Short]) {
        for Short { budget_id, quantity, need, .. } in short {
            let key = Key { budget: *budget_id, quantity: *quantity };
            let Some(line) = self.lines.get_mut(&key) else { continue };
            if line.cap.saturating_sub(line.spent) < *need {
                self.news.extend(line.exhausted().map(|part| (key, part)));
            }
        }
    }

    /// A budget was changed by whoever holds its row: it may have more room now, and its parts are told of anew.
    pub(crate) fn raised(&mut self, id: BudgetId) {
        for line in self.lines.values_mut() {
            line.warned = super::reached(line.spent, line.cap).min(line.warned);
        }
        self.freed.insert(id);
    }

    /// Writes the lines, tells of parts that are used up, and wakes the runs for which there is room now.
    pub(crate) async fn write(self, tx: &mut SystemTx) -> Result<Rouse, sqlx::Error> {
        let lines: Vec<&Line> = self.lines.values().collect();
        store::write_lines(tx, &lines).await?;
        let told: Vec<Told<'_>> =
            self.news.iter().filter_map(|(key, part)| self.told(key, *part)).collect();
        let events = store::tell(tx, &told).await?;
        let runs = self.wake(tx).await?;
        Ok(Rouse { runs, events })
    }

    fn told(&self, key: &Key, part: i16) -> Option<Told<'_>> {
        Some(Told { budget: self.budgets.get(&key.budget)?, line: self.lines.get(key)?, part })
    }

    /// Wakes the runs for which there is room now, in the order in which they began to wait; also those that wait for what is
    /// no limit any more.
    async fn wake(&self, tx: &mut SystemTx) -> Result<Vec<RunId>, sqlx::Error> {
        let freed: Vec<Uuid> = self.freed.iter().map(|id| id.uuid()).collect();
        if freed.is_empty() {
            return Ok(Vec::new());
        }
        let mut room: BTreeMap<Key, i64> =
            self.lines.iter().map(|(key, line)| (*key, line.room())).collect();
        let mut runs: BTreeMap<RunId, TenantId> = BTreeMap::new();
        for wait in store::waits(tx, &freed).await? {
            match room.get_mut(&wait.key) {
                Some(left) if *left < wait.need => continue,
                Some(left) => *left -= wait.need,
                None => {}
            }
            runs.insert(wait.run, wait.tenant);
        }
        store::wake(tx, &runs).await?;
        Ok(runs.into_keys().collect())
    }
}
