use std::{
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use shared_models::Service;
use sqlx::PgConnection;
use tokio::time::MissedTickBehavior;

use super::scene::Scene;
use crate::{
    bench::Bench,
    figure::{Figure, Sample},
    fleet::{Fleet, Settled},
    load::{self, Connection, Traffic},
    webhook::Deliveries,
};

/// Between two deliveries at the door while the backlog is worked off.
const PACE: Duration = Duration::from_millis(5);
/// Even a slow machine is done by then.
const PATIENCE: Duration = Duration::from_secs(300);

/// The engine is away while deliveries come, then is back: how long until each of them is a run that has ended, what the
/// door is like meanwhile, and whether anything was published twice.
pub(super) async fn measure(
    bench: &mut Bench,
    fleet: &mut Fleet,
    scene: &Scene,
) -> anyhow::Result<()> {
    let count = if bench.quick { 500 } else { 20_000 };
    let mut settled = Settled::new(fleet).await?;
    settled.everything().await?;
    let messages = settled.fired().await?;

    crate::progress(&format!("{count} deliveries while the engine is away"));
    fleet.stop_service(Service::Engine).await?;
    let door = fleet.door(Service::Eventsvc);
    let deliveries = Deliveries::sign(&scene.hook.path, &scene.hook.secret, count);
    let filled = load::closed_loop(door, 64, count, PATIENCE, deliveries.into()).await?.figure();
    settled.published().await?;

    crate::progress("the engine is back");
    let mut onlooker = fleet.onlooker().await?;
    let now = sqlx::query_scalar("select clock_timestamp()::text").fetch_one(&mut onlooker);
    let (now, since): (String, _) = (now.await?, Instant::now());
    fleet.start_service(Service::Engine, bench.mock_at)?;
    let drain = drained(&mut onlooker, &now, filled.count.cast_signed());
    let quick = Deliveries::sign(&scene.nobody.path, &scene.nobody.secret, 60_000);
    let meanwhile = trickle(Connection::open(door).await?, &quick, drain).await?.figure();
    let took = since.elapsed().as_secs_f64();
    settled.everything().await?;

    let accepted = filled.count + meanwhile.count;
    let sent = settled.fired().await? - messages;
    ensure!(sent >= accepted, "{accepted} deliveries were accepted and {sent} published");
    let rate = Some(filled.count as f64 / took);
    let worked_off = Figure { per_second: rate, count: filled.count, ..Figure::default() };
    let worked_off = worked_off.with("drain s", took);
    let worked_off = worked_off.with("published again", (sent - accepted) as f64);
    for (name, figure) in [
        ("door, the engine is away, 64 connections", filled),
        ("worked off, from the start of the engine", worked_off),
        ("door meanwhile, a delivery each 5 ms", meanwhile),
    ] {
        bench.report.row("backlog", name, figure);
    }
    Ok(())
}

/// Delivers at a steady pace until the work is done.
async fn trickle(
    mut connection: Connection,
    traffic: &impl Traffic,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Sample> {
    let mut work = pin!(work);
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut sample, mut request, started) = (Sample::default(), Vec::new(), Instant::now());
    for n in 0.. {
        tokio::select! {
            done = &mut work => {
                done?;
                break;
            }
            _ = pace.tick() => {}
        }
        request.clear();
        traffic.write(n, &mut request);
        let sent = Instant::now();
        match traffic.wrong(&connection.exchange(&request).await?) {
            None => sample.answered(sent),
            Some(wrong) => sample.failed(wrong),
        }
    }
    sample.elapsed = started.elapsed();
    Ok(sample)
}

/// Waits until so many runs have ended since then.
async fn drained(onlooker: &mut PgConnection, since: &str, runs: i64) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let ended: i64 = sqlx::query_scalar(
            "select count(*) from engine.run
             where finished_at >= $1::timestamptz and content_pruned_at is null",
        )
        .bind(since)
        .fetch_one(&mut *onlooker)
        .await?;
        if ended >= runs {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            bail!("{ended} of {runs} runs have ended after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
