use std::time::Instant;

use anyhow::ensure;
use shared_models::Service;

use super::{memory, scene::Scene};
use crate::{
    bench::Bench,
    figure::Figure,
    fleet::{Fleet, Hook, Settled},
    webhook::Deliveries,
};

/// Deliveries at both doors: first with firings that the engine refuses, then with an agent that takes them.
pub(super) async fn measure(bench: &mut Bench, fleet: &Fleet, scene: &Scene) -> anyhow::Result<()> {
    let mut settled = Settled::new(fleet).await?;
    for (takes, hook) in [("nobody", &scene.nobody), ("an agent", &scene.hook)] {
        for service in [Service::Eventsvc, Service::Gateway] {
            for connections in [1, 64, 256] {
                let name = format!("{service} door, {takes} takes it, {connections} connections");
                crate::progress(&name);
                let figure = door(bench, fleet, &mut settled, hook, (service, connections)).await?;
                bench.report.row("webhook intake", &name, figure);
            }
        }
    }
    Ok(())
}

/// The same for a minute on end, with an agent that takes it: the rate of each ten seconds, and then how long what was
/// accepted takes to be worked off.
pub(super) async fn sustained(
    bench: &mut Bench,
    fleet: &Fleet,
    scene: &Scene,
) -> anyhow::Result<()> {
    let mut settled = Settled::new(fleet).await?;
    let mut onlooker = fleet.onlooker().await?;
    for connections in [1, 64, 256] {
        let name = format!("eventsvc door, {}, {connections} connections", bench.sustained());
        crate::progress(&name);
        let stored = count(&mut onlooker).await?;
        let begun = Instant::now();
        let load = (fleet.door(Service::Eventsvc), connections);
        let processes = bench.with_mock(&fleet.processes());
        let make = |count| Deliveries::sign(&scene.hook.path, &scene.hook.secret, count);
        let figure = bench.without_pause(load, &processes, make).await?;
        let accepted = Instant::now();
        settled.runs().await?;
        let drained = accepted.elapsed().as_secs_f64();
        let end_to_end = figure.count as f64 / begun.elapsed().as_secs_f64();
        settled.everything().await?;
        let new = (count(&mut onlooker).await? - stored).cast_unsigned();
        let most = figure.count + figure.errors.values().sum::<u64>();
        let accepted = figure.count;
        ensure!((accepted..=most).contains(&new), "{accepted} were accepted and {new} stored");
        let figure = figure.with("drain runs s", drained).with("accepted to ended /s", end_to_end);
        bench.report.row("webhook intake, sustained", &name, figure);
        memory::now(bench, fleet, &format!("after {connections} connections, sustained"));
    }
    Ok(())
}

async fn door(
    bench: &Bench,
    fleet: &Fleet,
    settled: &mut Settled,
    hook: &Hook,
    (service, connections): (Service, usize),
) -> anyhow::Result<Figure> {
    let processes = bench.with_mock(&fleet.processes());
    let make = |count| Deliveries::sign(&hook.path, &hook.secret, count);
    let mut onlooker = fleet.onlooker().await?;
    let mut stored = count(&mut onlooker).await?;
    bench
        .measure(
            (fleet.door(service), connections),
            bench.plan.at_most(3),
            &processes,
            make,
            async |figure| {
                let loaded = figure.count as f64 / figure.per_second.unwrap_or(1.0).max(1.0);
                let since = Instant::now();
                let runs = settled.runs().await?;
                settled.everything().await?;
                let drained = since.elapsed();
                let now = count(&mut onlooker).await?;
                // An answer that did not come may stand for a row all the same.
                let errors: u64 = figure.errors.values().sum();
                let new = (now - stored).cast_unsigned();
                ensure!(
                    (figure.count..=figure.count + errors).contains(&new),
                    "{} deliveries were accepted and {new} stored",
                    figure.count
                );
                stored = now;
                let end_to_end = figure.count as f64 / (loaded + runs.as_secs_f64());
                Ok(figure
                    .with("drain runs s", runs.as_secs_f64())
                    .with("drain all s", drained.as_secs_f64())
                    .with("accepted to ended /s", end_to_end))
            },
        )
        .await
}

async fn count(onlooker: &mut sqlx::PgConnection) -> anyhow::Result<i64> {
    let question = "select count(*) from eventsvc.delivery";
    Ok(sqlx::query_scalar(question).fetch_one(onlooker).await?)
}
