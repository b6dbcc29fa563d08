//! The platform under faults: signed deliveries, some of them twice, while services and servers are killed and started
//! again at random moments; then everything that was accepted is accounted for.
//!
//! Chance comes from the seed: which is killed when, for how long it is away, what is sent twice. The machine adds its own.

mod audit;
mod killer;
mod sender;
mod stage;

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};
use testkit::Stub;

use crate::Fleet;
use audit::Audit;
use sender::Mail;
use stage::Stage;

/// What to do to it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Distinct deliveries.
    pub deliveries: usize,
    /// How many of a hundred are sent twice.
    pub duplicates: usize,
    /// How often each of eventsvc, engine, credsvc, Postgres and NATS is killed; NATS once more, with its store rolled
    /// back.
    pub kills: usize,
    /// What chance is made from.
    pub seed: u64,
    /// How long everything may take to come to rest after the last delivery.
    pub settle: Duration,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Accepted deliveries without a run of each trigger.
    pub lost: Vec<String>,
    /// More than one run per delivery and trigger, or an unsafe call that arrived twice.
    pub doubled: Vec<String>,
    /// What has not come to rest, or has a gap.
    pub stuck: Vec<String>,
    /// What else should not have happened: wrong answers, processes that ended by themselves.
    pub wrong: Vec<String>,
    /// What happened, for the reader.
    pub notes: Vec<String>,
    /// Where the services' logs were put, when something was wrong.
    pub logs: Option<PathBuf>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.doubled, &self.stuck, &self.wrong].iter().all(|list| list.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Of each list the first few tell enough.
        const SHOWN: usize = 12;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        let lists = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("stuck", &self.stuck),
            ("wrong", &self.wrong),
        ];
        for (name, list) in lists {
            for item in list.iter().take(SHOWN) {
                writeln!(f, "{name}: {item}")?;
            }
        }
        if let Some(logs) = &self.logs {
            writeln!(f, "logs: {}", logs.display())?;
        }
        let [lost, doubled, stuck] = [&self.lost, &self.doubled, &self.stuck].map(Vec::len);
        write!(f, "lost / doubled / stuck: {lost} / {doubled} / {stuck}")
    }
}

/// Starts the platform, does all that to it, and looks.
pub async fn run(plan: &Plan) -> Verdict {
    let mut chance = StdRng::seed_from_u64(plan.seed);
    let outside = stage::outside().await;
    let mut fleet = start(&outside).await;
    let stage = Stage::make(&fleet, &outside).await;
    let waves = killer::schedule(plan.kills, &mut chance);
    let mail = Mail::new(plan, waves.len(), &mut chance);

    let began = Instant::now();
    let (target, wave) = (stage.target(&fleet), killer::Wave::new(&mail, &mut chance));
    let killed = tokio::join!(mail.send(&target), wave.run(&mut fleet, &waves)).1;
    let under_fire = began.elapsed();

    let audit = Audit::new(&fleet, &stage, &mail, &outside).await;
    let (doubts, settled) = audit.settle(&fleet.api(), plan.settle).await;
    let mut verdict = audit.verdict().await;
    verdict.wrong.extend(fleet.ended());
    verdict.wrong.extend(mail.wrong_answers());
    verdict.stuck.extend(mail.unaccepted());
    let again = rolled_back(&fleet.logs());
    if again == 0 {
        verdict.wrong.push("the roll-back lost nothing that had to be published again".into());
    }
    let mut notes = vec![
        format!("seed {}; {} deliveries, {} sent in all", plan.seed, plan.deliveries, mail.total()),
        format!("killed, in this order: {}", killed.join(", ")),
        format!("answers: {}", mail.answers()),
        format!("published again after the roll-back: {again} events"),
        format!(
            "{under_fire:.1?} under fire, {settled:.1?} to come to rest; {doubts} doubts answered"
        ),
    ];
    notes.append(&mut verdict.notes);
    verdict.notes = notes;
    if !verdict.is_clean() {
        verdict.logs = Some(keep_logs(&fleet, plan.seed));
    }
    verdict
}

/// Leases and waits are short, so that what a crash leaves behind is picked up while somebody watches.
async fn start(outside: &Stub) -> Fleet {
    let allow = format!("127.0.0.1:{}", outside.port());
    Fleet::start(&[
        ("SWITCHYARD_EGRESS_ALLOW", &allow),
        ("SWITCHYARD_WORKER_LEASE_MS", "2000"),
        ("SWITCHYARD_UNHEARD_MINUTES", "1"),
        ("SWITCHYARD_LOG", "info"),
    ])
    .await
}

/// How many events the services have missed on the bus, by their own words.
fn rolled_back(logs: &str) -> u64 {
    let lines = logs.lines().filter(|line| line.contains("store was rolled back"));
    let parsed = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    parsed.filter_map(|line| line["events"].as_u64()).sum()
}

fn keep_logs(fleet: &Fleet, seed: u64) -> PathBuf {
    let kept = std::env::temp_dir().join(format!("switchyard-chaos-{seed}"));
    std::fs::create_dir_all(&kept).unwrap();
    for entry in std::fs::read_dir(fleet.logs_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            std::fs::copy(&path, kept.join(path.file_name().unwrap())).unwrap();
        }
    }
    kept
}
