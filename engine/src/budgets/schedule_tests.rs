//! Many calls at once on one dollar, in a hundred random schedules, over a real database. Some are given up while they ask;
//! whoever is refused asks again when it is woken, and is woken whenever there is room.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use dbutil::Db;
use futures::StreamExt as _;
use futures::stream::{self, FuturesUnordered};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::TestDb;
use tokio::sync::Notify;

use super::*;
use crate::definition::Budget;
use crate::store::{budget_edit, budget_ledger, worker};

const DOLLAR: i64 = 1_000_000;
/// Enough for all.
const RAISED: i64 = 10_000_000;
const CHILDREN: usize = 64;
const SCHEDULES: u64 = 100;

/// What one child does.
struct Child {
    run: RunId,
    /// When it is given up, if it is still asking then.
    patience: Option<Duration>,
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
            run: RunId::mint(),
            patience: rng
                .random_ratio(1, 6)
                .then(|| Duration::from_micros(rng.random_range(0..20_000))),
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
    dead: AtomicBool,
    /// Children that have not ended, and what wakes each.
    open: Mutex<HashMap<RunId, Arc<Notify>>>,
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
            dead: AtomicBool::new(false),
            open: Mutex::default(),
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
            self.dead.store(true, Ordering::Release);
            patiently(async || worker::leave(&self.db, self.engines[1].worker).await).await;
        }
        begun >= after
    }

    async fn child(&self, child: Child) {
        let woken = lock(&self.open).entry(child.run).or_default().clone();
        self.call(&child, &woken).await;
        lock(&self.open).remove(&child.run);
    }

    async fn call(&self, child: &Child, woken: &Notify) {
        pause(child.pauses.0).await;
        let key = Key { budget: self.cap.id(), quantity: Quantity::Cost };
        let asker = Asker { tenant: self.tenant, own: Some((child.run, 1)), lapses: 0 };
        let engine = &self.engines[child.engine];
        let of = (&[key][..], std::slice::from_ref(&self.cap));
        let request = child.request();
        let reserved = loop {
            let asking = engine.reserve(&self.db, &asker, of, &request);
            let answer = match child.patience {
                Some(patience) => match tokio::time::timeout(patience, asking).await {
                    Ok(answer) => answer,
                    Err(_) => return,
                },
                None => asking.await,
            };
            match answer {
                Ok(Answer { reserved: Ok(reserved), .. }) => break reserved,
                Ok(Answer { reserved: Err(_), .. }) => woken.notified().await,
                // So many on a busy machine may wait for a connection in vain.
                Err(sqlx::Error::PoolTimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        };
        pause(child.pauses.1).await;
        if self.is_dead(child.engine).await {
            // Its memory is gone: nothing is given back from there.
            std::mem::forget(reserved);
            return;
        }
        for (_, draw) in &reserved.draws {
            let amount = draw.reserved() * child.counted / 100;
            let drawn = draw.settle(amount);
            patiently(async || {
                sqlx::query(
                    "insert into engine.budget_spending (tenant_id, budget_id, quantity, hold_id, amount) values ($1, $2, 'cost', $3, $4)",
                )
                .bind(self.tenant.uuid())
                .bind(drawn.key.budget.uuid())
                .bind(drawn.hold)
                .bind(drawn.amount)
                .execute(self.db.system_pool())
                .await
            })
            .await;
            self.written.fetch_add(amount, Ordering::AcqRel);
            self.over.fetch_add((amount - draw.reserved()).max(0), Ordering::AcqRel);
        }
    }

    async fn line(&self) -> (i64, i64, i64) {
        let mut tx = patiently(async || self.db.system("a test").await).await;
        let lines = budget_ledger::lines(&mut tx, &[self.cap.id().uuid()]).await.unwrap();
        (lines[0].spent, lines[0].held, lines[0].overshoot)
    }
}

/// Asks the database until there is a connection: many share a few, and a machine may be busy.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, sqlx::Error>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(sqlx::Error::PoolTimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn pause(times: u32) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

impl Scene {
    async fn tidy(&self) {
        patiently(async || self.engines[0].tidy(&self.db).await).await;
        if !self.dead.load(Ordering::Acquire) {
            patiently(async || self.engines[1].tidy(&self.db).await).await;
        }
        patiently(async || settle(&self.db, &[self.cap.id()], &[]).await).await;
    }

    /// Tidies up and wakes until each child has ended, or waits for more than there is.
    async fn until_quiet(&self) {
        loop {
            self.tidy().await;
            let told: Vec<Uuid> = patiently(async || {
                sqlx::query_scalar(
                    "delete from engine.run_signal where tenant_id = $1 returning run_id",
                )
                .bind(self.tenant.uuid())
                .fetch_all(self.db.system_pool())
                .await
            })
            .await;
            let open: Vec<Uuid> = {
                let open = lock(&self.open);
                for one in told.iter().filter_map(|run| open.get(&RunId::from(*run))) {
                    one.notify_one();
                }
                open.keys().map(|run| run.uuid()).collect()
            };
            let waiting: i64 = patiently(async || {
                sqlx::query_scalar(
                    "select count(*) from engine.budget_wait w join engine.budget_line l using (budget_id, quantity)
                     where w.run_id = any ($1) and w.need > l.cap - l.spent - l.held and l.held = 0",
                )
                .bind(&open)
                .fetch_one(self.db.system_pool())
                .await
            })
            .await;
            // A slab is kept for a moment after the last that drew on it.
            if waiting == open.len() as i64 && self.line().await.1 == 0 {
                return;
            }
        }
    }

    async fn raise(&self) {
        let mut tx = patiently(async || self.db.system("a test").await).await;
        let limits = Budget { max_cost_micro_usd: Some(RAISED), ..Budget::default() };
        budget_ledger::lock(&mut tx, &[self.cap.id().uuid()]).await.unwrap();
        budget_edit::update(&mut tx, Some(self.tenant), self.cap.id(), &limits).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn play(db: &Db, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let dies_after = rng.random_ratio(1, 3).then(|| rng.random_range(0..20));
    let scene = Scene::new(db, dies_after).await;
    let children: Vec<Child> = (0..CHILDREN).map(|_| Child::random(&mut rng)).collect();
    for child in &children {
        lock(&scene.open).entry(child.run).or_default();
    }
    let children: FuturesUnordered<_> =
        children.into_iter().map(|child| scene.child(child)).collect();
    let watch = async {
        scene.until_quiet().await;
        check(&scene, DOLLAR, seed).await;
        scene.raise().await;
        scene.until_quiet().await;
    };
    tokio::join!(children.collect::<()>(), watch);
    check(&scene, RAISED, seed).await;
}

async fn check(scene: &Scene, cap: i64, seed: u64) {
    // Whoever died in the middle keeps nothing, and neither does anybody else; what was given up may be written just now.
    let (spent, overshoot) = loop {
        scene.tidy().await;
        if let (spent, 0, overshoot) = scene.line().await {
            break (spent, overshoot);
        }
    };

    let written = scene.written.load(Ordering::Acquire);
    let over = scene.over.load(Ordering::Acquire);
    assert_eq!(spent, written, "everything is counted once, seed {seed}");
    assert!(spent <= cap + overshoot, "{spent} with {overshoot} over, seed {seed}");
    if scene.dies_after.is_none() {
        assert!(overshoot <= over, "{overshoot} over, and providers took {over}: seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_children_never_commit_more_than_a_dollar_and_the_recorded_overshoot() {
    let database = TestDb::new("engine", &crate::MIGRATOR).await;
    let db = database.db("engine").await;
    stream::iter(0..SCHEDULES)
        .for_each_concurrent(4, |seed| {
            let limit = Duration::from_secs(300);
            let played = tokio::time::timeout(limit, play(&db, seed));
            async move {
                played.await.unwrap_or_else(|_| panic!("somebody sleeps for ever, seed {seed}"));
            }
        })
        .await;
}
