//! Keys exchanged under load, by a command that is killed again and again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use e2e::VaultStage;
use futures::{StreamExt as _, stream};
use shared_models::AgentId;
use sqlx::PgPool;
use testkit::{Person, eventually_within};
use tokio::task::JoinSet;

/// Begins every secret; found anywhere, one of them is in plaintext.
const NEEDLE: &str = "plaintext-needle-5d1c";
/// Begins every name, which is no secret: what finds this would find the other.
const NAMED: &str = "named-needle-77aa";
const TENANTS: usize = 20;
/// How often each command is killed at any moment, besides once in the middle of its work for sure.
const KILLS: usize = 6;

struct Kept {
    owner: usize,
    id: String,
    secret: String,
}

struct World {
    stage: VaultStage,
    owners: Vec<(Person, AgentId)>,
    kept: Vec<Kept>,
    /// Whose turn it is to be read.
    turn: AtomicUsize,
}

/// How many credentials; `make rotation` takes 10,000.
#[allow(clippy::disallowed_methods, reason = "a test's own setting")]
fn count() -> usize {
    std::env::var("SWITCHYARD_TEST_CREDENTIALS").map_or(200, |count| count.parse().unwrap())
}

impl World {
    async fn new(count: usize) -> (Self, u16) {
        let mut stage = VaultStage::start().await;
        let port = stage.serve().await;
        let owners: Vec<(Person, AgentId)> =
            (0..TENANTS).map(|_| (stage.trust.owner(), AgentId::mint())).collect();
        let made = stream::iter(0..count).map(|n| {
            let ((owner, agent), stage) = (&owners[n % TENANTS], &stage);
            async move {
                let secret = format!("{NEEDLE}-{n:06}");
                let name = format!("{NAMED}-{n:06}");
                let id = stage.store(port, owner, *agent, &name, &secret).await;
                Kept { owner: n % TENANTS, id, secret }
            }
        });
        let kept = made.buffer_unordered(16).collect().await;
        (Self { stage, owners, kept, turn: AtomicUsize::new(0) }, port)
    }

    /// Whether one can be read, and is what was stored.
    async fn reads(&self, port: u16, n: usize) {
        let Kept { owner, id, secret } = &self.kept[n];
        let (owner, agent) = &self.owners[*owner];
        let (status, body) = self.stage.lease(port, owner, *agent, id).await;
        assert_eq!(
            (status, body["credentials"]["token"].as_str()),
            (200, Some(&**secret)),
            "{body}"
        );
    }

    async fn read_all(&self, port: u16) {
        stream::iter(0..self.kept.len()).for_each_concurrent(16, |n| self.reads(port, n)).await;
    }

    /// Reads one after the other, in turn with all who do, until it is told to stop; says how long each took.
    async fn read_on(self: Arc<Self>, port: u16, over: Arc<AtomicBool>) -> Vec<Duration> {
        let mut reads = Vec::new();
        while !over.load(Ordering::Acquire) {
            let began = Instant::now();
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            self.reads(port, turn % self.kept.len()).await;
            reads.push(began.elapsed());
        }
        reads
    }

    /// Runs a command that is killed while it waits for a row in the middle of its work, and then at any moment, until
    /// it may end. What the last one said, and how many were still at work when they were killed.
    async fn rotate(
        &self,
        db: &PgPool,
        how: &[&str],
        hold: &'static str,
        done: &'static str,
    ) -> (String, usize) {
        let command = [&["credentials", "rotate"], how].concat();
        let mut holder = db.acquire().await.unwrap();
        let middle = self.kept.len() as i64 / 2;
        sqlx::query("begin").execute(&mut *holder).await.unwrap();
        sqlx::query(hold).bind(middle).execute(&mut *holder).await.unwrap();
        let mut process = self.stage.begin(&command);
        let limit = Duration::from_secs(120);
        eventually_within(limit, "the command to be in the middle", async || {
            assert!(process.running(), "it was not held up: {}", process.log());
            let waits: bool = sqlx::query_scalar(
                "select exists (select from pg_locks l join pg_stat_activity a using (pid)
                 where not l.granted and a.usename = 'credsvc_app')",
            )
            .fetch_one(db)
            .await
            .unwrap();
            let begun: i64 = sqlx::query_scalar(done).fetch_one(db).await.unwrap();
            (waits && begun > 0).then_some(())
        })
        .await;
        process.kill();
        sqlx::query("rollback").execute(&mut *holder).await.unwrap();
        let mut killed = 1;
        for _ in 0..KILLS {
            let mut process = self.stage.begin(&command);
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..600))).await;
            if process.running() {
                process.kill();
                killed += 1;
            }
        }
        (self.stage.command(&command), killed)
    }
}

/// What happened, for whoever runs the large one: one line for each part, with the seconds since the last.
#[allow(clippy::print_stdout, reason = "`make rotation` shows what it did")]
fn tell(since: &mut Instant, what: &str) {
    println!("{:7.1} s  {what}", since.elapsed().as_secs_f64());
    *since = Instant::now();
}

fn told_of(reads: &mut [Duration], count: usize) -> String {
    reads.sort_unstable();
    let at = |part: f64| reads[((reads.len() - 1) as f64 * part) as usize].as_millis();
    format!(
        "{} reads meanwhile, {:.1} of each secret, all right: p50 {} ms, p99 {} ms, slowest {} ms",
        reads.len(),
        reads.len() as f64 / count as f64,
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_under_load_by_commands_that_are_killed_and_every_secret_stays_readable()
{
    let (count, mut since) = (count(), Instant::now());
    let (mut world, first) = World::new(count).await;
    // Every process knows the new root key beside the old one before anything is put under it.
    world.stage.new_root_key(2);
    world.stage.set_root_keys(&[2, 1]);
    let port = world.stage.serve().await;
    world.stage.stop(first);
    let db = world.stage.admin().await;
    tell(&mut since, &format!("{count} credentials of {TENANTS} tenants stored and granted"));

    let (shared, over) = (Arc::new(world), Arc::new(AtomicBool::new(false)));
    let mut readers = JoinSet::new();
    for _ in 0..6 {
        readers.spawn(shared.clone().read_on(port, over.clone()));
    }
    let (said, killed) = shared
        .rotate(
            &db,
            &["--root"],
            "with middle as (select tenant_id from credsvc.credential
                 order by tenant_id, credential_id offset $1 limit 1)
             select from credsvc.tenant_key where tenant_id in (select tenant_id from middle) for update",
            "select count(*) from credsvc.tenant_key where root_version = 2",
        )
        .await;
    tell(&mut since, &format!("root key: killed {killed} times at work, then {}", said.trim()));
    let under = "select count(*) from credsvc.tenant_key where root_version <> 2";
    assert_eq!(sqlx::query_scalar::<_, i64>(under).fetch_one(&db).await.unwrap(), 0);
    let (said, killed) = shared
        .rotate(
            &db,
            &["--all-tenants"],
            // Rows that an offset skips would be locked as well.
            "select from credsvc.credential where credential_id = (
                 select credential_id from credsvc.credential
                 order by tenant_id, credential_id offset $1 limit 1) for update",
            "select count(*) from credsvc.credential where tenant_key_version > 1",
        )
        .await;
    let tenants = said.lines().filter(|line| line.contains("under the new key")).count();
    tell(&mut since, &format!("tenant keys: killed {killed} times at work, then {tenants} done"));
    // Until each was read while keys were exchanged, however few that is of a second's reads.
    let mut again = 0;
    while shared.turn.load(Ordering::Relaxed) < count {
        shared.stage.command(&["credentials", "rotate", "--all-tenants"]);
        again += 1;
        if let Some(ended) = readers.try_join_next() {
            panic!("a reader ended by itself after {:?} reads", ended.map(|reads| reads.len()));
        }
    }
    tell(&mut since, &format!("tenant keys: exchanged {again} times more"));
    over.store(true, Ordering::Release);
    let each = readers.join_all().await;
    assert!(each.iter().all(|reads| !reads.is_empty()), "somebody read nothing meanwhile");
    tell(&mut since, &told_of(&mut each.concat(), count));
    let mut world = Arc::into_inner(shared).unwrap();
    world.read_all(port).await;

    // The old root key is not needed any more.
    world.stage.set_root_keys(&[2]);
    let last = world.stage.serve().await;
    world.stage.stop(port);
    world.read_all(last).await;
    tell(&mut since, "every secret read, with the old root key and without");
    let verified = world.stage.command(&["credentials", "verify"]);
    assert!(verified.contains(&format!("{count} secrets open")), "{verified}");
    tell(&mut since, verified.trim());
    let chains = world.stage.command(&["audit", "verify"]);
    let intact = chains.lines().filter(|line| line.contains(" intact, ")).count();
    assert_eq!(intact, TENANTS, "{chains}");
    let rows: i64 =
        sqlx::query_scalar("select count(*) from credsvc.audit").fetch_one(&db).await.unwrap();
    tell(&mut since, &format!("{intact} audit chains intact, {rows} rows"));
    sqlx::query("checkpoint").execute(&db).await.unwrap();
    assert!(!world.stage.files_with(NAMED).is_empty(), "the search finds nothing at all");
    assert_eq!(world.stage.files_with(NEEDLE), Vec::<std::path::PathBuf>::new());
    tell(&mut since, "no secret in any file of the servers, of their logs or of ours");
}
