use std::time::Duration;

use anyhow::ensure;
use shared_models::Service;
use tokio::time::MissedTickBehavior;

use super::scene::Scene;
use crate::{
    bench::Bench,
    figure::Figure,
    fleet::{Fleet, Settled},
    load::{Connection, Traffic as _},
    webhook::Deliveries,
};

/// How long a committed delivery takes to become a journal's first record, and to reach a worker: by Postgres' own
/// times of commit, with so many events a second.
pub(super) async fn measure(bench: &mut Bench, fleet: &Fleet, scene: &Scene) -> anyhow::Result<()> {
    let rates: &[u32] = if bench.quick { &[50] } else { &[100, 500] };
    for rate in rates {
        let mut first = Vec::new();
        let mut started = Vec::new();
        for _ in 0..bench.plan.repeats.min(3) {
            crate::progress(&format!("{rate} events/s"));
            let (created, claimed) = once(bench, fleet, scene, *rate).await?;
            first.push(created);
            started.push(claimed);
        }
        let name = format!("committed to first journal entry, {rate} events/s");
        bench.report.row("event to run", &name, Figure::median(first));
        let name = format!("committed to claimed by a worker, {rate} events/s");
        bench.report.row("event to run", &name, Figure::median(started));
    }
    Ok(())
}

async fn once(
    bench: &Bench,
    fleet: &Fleet,
    scene: &Scene,
    rate: u32,
) -> anyhow::Result<(Figure, Figure)> {
    let count = (f64::from(rate) * bench.plan.measure.as_secs_f64()).max(10.0) as usize;
    let deliveries = Deliveries::sign(&scene.hook.path, &scene.hook.secret, count);
    let mut onlooker = fleet.onlooker().await?;
    let since: String = sqlx::query_scalar(SINCE).fetch_one(&mut onlooker).await?;
    let mut connection = Connection::open(fleet.door(Service::Eventsvc)).await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut request = Vec::new();
    for n in 0..count {
        pace.tick().await;
        request.clear();
        deliveries.write(n, &mut request);
        let answer = connection.exchange(&request).await?;
        ensure!(answer.status == 202, "a delivery was answered {}", answer.status);
    }
    Settled::new(fleet).await?.everything().await?;
    let rows: Vec<(f64, f64)> = sqlx::query_as(LAGS).bind(since).fetch_all(&mut onlooker).await?;
    ensure!(rows.len() == count, "{count} events made {} runs", rows.len());
    let figure = |micros: Vec<f64>| {
        Figure::of_latencies(micros.into_iter().map(|micros| micros.max(0.0) as u32).collect())
    };
    let (first, claimed) = rows.into_iter().unzip();
    Ok((figure(first), figure(claimed)))
}

/// The service's own idea of the database's clock may be a little behind it.
const SINCE: &str = "select (clock_timestamp() - interval '5 milliseconds')::text";

/// A delivery's row and a journal's rows are never changed, so the transaction that wrote them is the one that made them.
const LAGS: &str = "
    select extract(epoch from pg_xact_commit_timestamp(first.xmin) - pg_xact_commit_timestamp(d.xmin))::float8 * 1e6,
           extract(epoch from pg_xact_commit_timestamp(claimed.xmin) - pg_xact_commit_timestamp(d.xmin))::float8 * 1e6
    from eventsvc.delivery d
    join eventsvc.firing f using (delivery_id)
    join engine.run r on r.event_id = f.event_id
    join engine.journal first on first.run_id = r.run_id and first.seq = 1
    join engine.journal claimed on claimed.run_id = r.run_id and claimed.kind = 'started'
    where d.received_at >= $1::timestamptz";
