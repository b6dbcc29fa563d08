//! Who waits for what, and what is left behind when somebody stops asking.

use std::time::Duration;

use dbutil::{Db, SystemTx};
use testkit::TestDb;

use super::*;
use crate::definition::Budget;
use crate::store::{budget_edit, budget_ledger, worker};

struct Scene {
    _database: TestDb,
    db: Db,
    budgets: Budgets,
    tenant: TenantId,
    cap: RunCap,
}

impl Scene {
    async fn new(cap: i64) -> Self {
        let database = TestDb::new("engine", &crate::MIGRATOR).await;
        let db = database.db("engine").await;
        let worker = WorkerId::mint();
        worker::heartbeat(&db, worker, Duration::from_secs(600)).await.unwrap();
        let cap = RunCap { run: RunId::mint(), path: String::new(), budget: tokens(cap) };
        let tenant = TenantId::mint();
        Self { _database: database, db, budgets: Budgets::new(worker), tenant, cap }
    }

    fn key(&self) -> Key {
        Key { budget: self.cap.id(), quantity: Quantity::Tokens }
    }

    async fn ask(&self, run: RunId, amount: i64) -> Answer {
        let asker = Asker { tenant: self.tenant, own: Some((run, 1)), lapses: 0 };
        let of = (&[self.key()][..], std::slice::from_ref(&self.cap));
        let request = Request::fixed(vec![Want::fixed(Quantity::Tokens, amount)]);
        self.budgets.reserve(&self.db, &asker, of, &request).await.unwrap()
    }

    async fn locked(&self) -> SystemTx {
        let mut tx = self.db.system("a test").await.unwrap();
        budget_ledger::lock(&mut tx, &[self.cap.id().uuid()]).await.unwrap();
        tx
    }

    /// Gives those who are woken.
    async fn set(&self, limits: &Budget) -> Vec<RunId> {
        let mut tx = self.locked().await;
        let owner = Some(self.tenant);
        let rouse = budget_edit::update(&mut tx, owner, self.cap.id(), limits).await.unwrap();
        tx.commit().await.unwrap();
        rouse.runs
    }

    async fn held(&self) -> i64 {
        let mut tx = self.db.system("a test").await.unwrap();
        let lines = budget_ledger::lines(&mut tx, &[self.cap.id().uuid()]).await.unwrap();
        lines[0].held
    }
}

fn tokens(most: i64) -> Budget {
    Budget { max_tokens: Some(most), ..Budget::default() }
}

#[tokio::test]
async fn a_call_that_is_granted_does_not_hide_one_of_the_same_run_that_waits() {
    let scene = Scene::new(100).await;
    let run = RunId::mint();
    assert!(scene.ask(run, 500).await.reserved.is_err());
    let granted = scene.ask(run, 60).await.reserved.unwrap();
    assert!(scene.ask(run, 200).await.reserved.is_err(), "and neither does one that wants less");
    assert!(scene.ask(run, 300).await.reserved.is_err(), "or more");

    assert_eq!(scene.set(&tokens(200)).await, [], "of which 60 are set aside");
    assert_eq!(scene.set(&tokens(260)).await, [run]);
    drop(granted);
}

#[tokio::test]
async fn whoever_needs_more_than_there_is_keeps_nobody_waiting() {
    let scene = Scene::new(10).await;
    for _ in 0..70 {
        assert!(scene.ask(RunId::mint(), 500).await.reserved.is_err());
    }
    let modest = RunId::mint();
    assert!(scene.ask(modest, 20).await.reserved.is_err());

    assert_eq!(scene.set(&tokens(20)).await, [modest]);
}

#[tokio::test]
async fn what_was_set_aside_of_a_limit_goes_with_it() {
    let scene = Scene::new(16_000).await;
    drop(scene.ask(RunId::mint(), 10).await.reserved.unwrap());
    assert_eq!(scene.held().await, 1_000, "a slab for many calls");
    let other = Budget { max_tool_calls: Some(1), ..Budget::default() };
    scene.set(&other).await;
    scene.set(&tokens(16_000)).await;

    scene.budgets.tidy(&scene.db).await.unwrap();

    let _granted = scene.ask(RunId::mint(), 10).await.reserved.unwrap();
    assert_eq!(scene.held().await, 1_000, "a slab of the new limit");
}

#[tokio::test]
async fn whoever_stops_asking_in_the_middle_leaves_nothing_set_aside() {
    let scene = Scene::new(100).await;
    drop(scene.ask(RunId::mint(), 60).await.reserved.unwrap());
    let held_up = scene.locked().await;

    // It takes what is to be given back with it, and waits for the budget.
    let asking = tokio::time::timeout(Duration::from_millis(300), scene.ask(RunId::mint(), 50));
    assert!(asking.await.is_err());
    drop(held_up);

    scene.budgets.tidy(&scene.db).await.unwrap();
    assert_eq!(scene.held().await, 0);
}
