use std::time::Instant;

use anyhow::ensure;
use shared_models::Service;

use super::scene::Scene;
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
