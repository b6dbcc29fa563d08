//! What is measured, in order.

mod backlog;
mod credentials;
mod entry;
mod intake;
mod journal;
mod library;
mod memory;
mod parts;
mod runs;
mod scene;
mod start;
mod streams;
mod timers;
mod waiting;

use crate::{bench::Bench, fleet::Fleet, tell};

/// The groups of measurements, by the names `--only` takes.
pub(crate) const GROUPS: [&str; 14] = [
    "start",
    "parts",
    "library",
    "memory",
    "credentials",
    "entry",
    "runs",
    "streams",
    "intake",
    "sustained",
    "timers",
    "journal",
    "waiting",
    "backlog",
];

/// Measures the groups that are asked for; all, when none is named.
pub(crate) async fn everything(bench: &mut Bench, only: &[String]) -> anyhow::Result<()> {
    let wanted = |group: &str| only.is_empty() || only.iter().any(|name| name == group);
    if wanted("start") {
        tell("start to ready");
        start::measure(bench).await?;
    }
    if wanted("library") {
        tell("the library");
        library::measure(bench).await?;
    }
    if !GROUPS.iter().any(|group| !["start", "library"].contains(group) && wanted(group)) {
        return Ok(());
    }
    tell("starting the services");
    let mut fleet = Fleet::start(bench).await?;
    let done = with_fleet(bench, &mut fleet, &wanted).await;
    if bench.statements {
        tell(&fleet.statements().await?);
    }
    fleet.stop().await?;
    done
}

async fn with_fleet(
    bench: &mut Bench,
    fleet: &mut Fleet,
    wanted: &impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    memory::idle(bench, fleet);
    if wanted("parts") {
        tell("raw parts");
        parts::measure(bench, fleet).await?;
    }
    let scene = scene::Scene::make(bench, fleet).await?;
    if wanted("credentials") {
        tell("credentials");
        credentials::measure(bench, fleet, &scene).await?;
    }
    if wanted("entry") {
        tell("event to journal");
        entry::measure(bench, fleet, &scene).await?;
    }
    if wanted("runs") {
        tell("durable runs");
        runs::measure(bench, fleet, &scene).await?;
    }
    if wanted("streams") {
        tell("live streams");
        streams::measure(bench, fleet, &scene).await?;
    }
    if wanted("intake") {
        tell("webhook intake");
        intake::measure(bench, fleet, &scene).await?;
    }
    if wanted("sustained") {
        tell("webhook intake, sustained");
        intake::sustained(bench, fleet, &scene).await?;
    }
    if wanted("timers") {
        tell("timers");
        timers::measure(bench, fleet, &scene).await?;
    }
    if wanted("journal") {
        tell("a long run's journal");
        journal::measure(bench, fleet).await?;
    }
    if wanted("waiting") {
        tell("waiting runs");
        waiting::measure(bench, fleet, &scene).await?;
    }
    if wanted("backlog") {
        tell("a backlog");
        backlog::measure(bench, fleet, &scene).await?;
    }
    memory::loaded(bench, fleet);
    Ok(())
}
