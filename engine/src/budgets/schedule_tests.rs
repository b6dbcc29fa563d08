//! Many calls at once on one dollar, in a hundred random schedules, over a real database.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dbutil::Db;
use futures::StreamExt as _;
use futures::stream::{self, FuturesUnordered};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::TestDb;

use super::*;
use crate::definition::Budget;
use crate::store::{budget_ledger, worker};

const DOLLAR: i64 = 1_000_000;
const CHILDREN: usize = 64;
const SCHEDULES: u64 = 100;

/// What one child does.
struct Child {
    pauses: (u32, u32),
    input: i64,
    output: u32,
    /// What the provider counts, in parts of what was set aside: beyond 100 is overshoot.
    counted: i64,
    engine: usize,
}

impl Child {
    fn random(rng: &mut StdRng) -> Self {
        Self {
            pauses: (rng.random_range(0..5), rng.random_range(0..5)),
            input: rng.random_range(0..20_000),
            output: rng.random_range(16..4_000),
            counted: if rng.random_ratio(1, 20) {
                rng.random_range(100..130)
            } else {
                rng.random_range(0..=100)
            },
            engine: rng.random_range(0..2),
        }
    }

    fn request(&self) -> Request {
        let cost = Want { quantity: Quantity::Cost, base: self.input, rate: 10_000_000, slack: 0 };
        Request { wants: vec![cost], output: self.output, least: 16 }
    }
}

/// Two engines, of which one may die.
struct Scene {
    db: Db,
    engines: [Budgets; 2],
    tenant: TenantId,
    cap: RunCap,
    /// Calls that the second engine has begun when it dies.
    dies_after: Option<i64>,
    begun: AtomicI64,
    written: AtomicI64,
    over: AtomicI64,
}

impl Scene {
    async fn new(db: &Db, dies_after: Option<i64>) -> Self {
        let workers = [WorkerId::mint(), WorkerId::mint()];
        for id in workers {
            worker::heartbeat(db, id, Duration::from_secs(600)).await.unwrap();
        }
        let budget = Budget { max_cost_micro_usd: Some(DOLLAR), ..Budget::default() };
        Self {
            db: db.clone(),
            engines: workers.map(Budgets::new),
            tenant: TenantId::mint(),
            cap: RunCap { run: RunId::mint(), path: String::new(), budget },
            dies_after,
            begun: AtomicI64::new(0),
            written: AtomicI64::new(0),
            over: AtomicI64::new(0),
        }
    }

    /// Whether the engine is dead; the one that notices first has its lease end.
    async fn is_dead(&self, engine: usize) -> bool {
        let Some(after) = self.dies_after.filter(|_| engine == 1) else { return false };
        let begun = self.begun.fetch_add(1, Ordering::AcqRel);
        if begun == after {
            worker::leave(&self.db, self.engines[1].worker).await.unwrap();
        }
        begun >= after
    }

    async fn call(&self, child: Child) {
        pause(child.pauses.0).await;
        let key = Key { budget: self.cap.id(), quantity: Quantity::Cost };
        let asker = Asker { tenant: self.tenant, run: RunId::mint(), epoch: 1, lapses: 0 };
        let engine = &self.engines[child.engine];
        let of = (&[key][..], std::slice::from_ref(&self.cap));
        let answer = engine.reserve(&self.db, &asker, of, &child.request()).await.unwrap();
        let Ok(reserved) = answer.reserved else { return };
        pause(child.pauses.1).await;
        if self.is_dead(child.engine).await {
            // Its memory is gone: nothing is given back from there.
            std::mem::forget(reserved);
            return;
        }
        for (_, draw) in &reserved.draws {
            let amount = draw.reserved() * child.counted / 100;
            let drawn = draw.settle(amount);
            sqlx::query(
                "insert into engine.budget_spending (tenant_id, budget_id, quantity, hold_id, amount) values ($1, $2, 'cost', $3, $4)",
            )
            .bind(self.tenant.uuid())
            .bind(drawn.key.budget.uuid())
            .bind(drawn.hold)
            .bind(drawn.amount)
            .execute(self.db.system_pool())
            .await
            .unwrap();
            self.written.fetch_add(amount, Ordering::AcqRel);
            self.over.fetch_add((amount - draw.reserved()).max(0), Ordering::AcqRel);
        }
    }

    async fn line(&self) -> (i64, i64, i64) {
        let mut tx = self.db.system("a test").await.unwrap();
        let lines = budget_ledger::lines(&mut tx, &[self.cap.id().uuid()]).await.unwrap();
        (lines[0].spent, lines[0].held, lines[0].overshoot)
    }
}

async fn pause(times: u32) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

async fn play(db: &Db, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let dies_after = rng.random_ratio(1, 3).then(|| rng.random_range(0..20));
    let scene = Scene::new(db, dies_after).await;
    let children: FuturesUnordered<_> =
        (0..CHILDREN).map(|_| scene.call(Child::random(&mut rng))).collect();
    children.collect::<()>().await;
    // Twice: what nobody has drawn on since the first time is given back.
    for _ in 0..2 {
        scene.engines[0].tidy(db).await.unwrap();
        if dies_after.is_none() {
            scene.engines[1].tidy(db).await.unwrap();
        }
    }
    settle(db, &[scene.cap.id()], &[]).await.unwrap();

    let (spent, held, overshoot) = scene.line().await;

    let written = scene.written.load(Ordering::Acquire);
    let over = scene.over.load(Ordering::Acquire);
    assert_eq!(spent, written, "everything is counted once, seed {seed}");
    assert!(spent <= DOLLAR + overshoot, "{spent} with {overshoot} over, seed {seed}");
    if dies_after.is_none() {
        assert!(overshoot <= over, "{overshoot} over, and providers took {over}: seed {seed}");
    }
    // Whoever died in the middle keeps nothing, and neither does anybody else.
    assert_eq!(held, 0, "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_children_never_commit_more_than_a_dollar_and_the_recorded_overshoot() {
    let database = TestDb::new("engine", &crate::MIGRATOR).await;
    let db = database.db("engine").await;
    stream::iter(0..SCHEDULES).for_each_concurrent(4, |seed| play(&db, seed)).await;
}
