use std::time::Duration;

use serde_json::json;
use shared_models::Service;
use sqlx::PgConnection;

use super::scene::Scene;
use crate::{
    bench::Bench,
    figure::{Figure, median},
    fleet::{Fleet, Settled, text},
};

/// What eventsvc does about a great many timers: nothing is due, then some are due over a while, then all at once. Each
/// firing is a run of the real agent.
pub(super) async fn measure(bench: &mut Bench, fleet: &Fleet, scene: &Scene) -> anyhow::Result<()> {
    let (many, due) = if bench.quick { (2_000, 50) } else { (100_000, 2_000) };
    let mut admin = fleet.onlooker().await?;
    crate::progress(&format!("{many} timers"));
    let trigger = json!({ "system": "timer", "agent_id": scene.worker.id,
        "options": { "interval_seconds": 31_536_000 } });
    let made = fleet.api.post("/v1/triggers", &trigger).await?;
    let first = text(&made, "source_id")?;
    seed(&mut admin, &first, many).await?;
    Settled::new(fleet).await?.everything().await?;

    let name = format!("idle, {many} timers");
    bench.report.row("timers", &name, idle(bench, fleet).await);
    for (what, seconds) in [("spread over 4 s", 4.0), ("at once", 0.0)] {
        crate::progress(&format!("{due} fires {what}"));
        let micros = fires(fleet, &mut admin, due, seconds).await?;
        let name = format!("due to committed, {due} fires {what}, {many} timers");
        bench.report.row("timers", &name, Figure::of_latencies(micros));
    }
    // What follows is measured without them.
    sqlx::raw_sql("delete from eventsvc.timer").execute(&mut admin).await?;
    sqlx::raw_sql("vacuum analyze eventsvc.timer").execute(&mut admin).await?;
    Ok(())
}

/// Processor time while nothing is due, in percent of one processor, and memory.
async fn idle(bench: &Bench, fleet: &Fleet) -> Figure {
    let processes = fleet.processes();
    let mut own = Vec::new();
    let mut postgres = Vec::new();
    for _ in 0..bench.plan.repeats.min(3) {
        let before = processes.cpu();
        tokio::time::sleep(bench.plan.measure * 2).await;
        let after = processes.cpu();
        let percent = |name: &str| {
            let spent =
                after.get(name).zip(before.get(name)).map_or(0.0, |(after, before)| after - before);
            100.0 * spent / (bench.plan.measure * 2).as_secs_f64()
        };
        own.push(percent(Service::Eventsvc.name()));
        postgres.push(percent("postgres"));
    }
    let memory = processes.memory();
    Figure::of([
        ("eventsvc cpu %", median(own).unwrap_or_default()),
        ("eventsvc MB", memory.get(Service::Eventsvc.name()).copied().unwrap_or_default()),
        ("postgres cpu %", median(postgres).unwrap_or_default()),
    ])
}

/// Lets so many timers become due, evenly over a while; gives how long after its time each was committed, by Postgres'
/// own clock.
async fn fires(
    fleet: &Fleet,
    admin: &mut PgConnection,
    due: i32,
    seconds: f64,
) -> anyhow::Result<Vec<u32>> {
    let since: String =
        sqlx::query_scalar(SET).bind(due).bind(seconds).fetch_one(&mut *admin).await?;
    tokio::time::sleep(Duration::from_secs_f64(seconds + 2.0)).await;
    loop {
        let fired: i64 = sqlx::query_scalar(FIRED).bind(&since).fetch_one(&mut *admin).await?;
        if fired >= i64::from(due) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Settled::new(fleet).await?.everything().await?;
    let micros: Vec<f64> = sqlx::query_scalar(LATE).bind(since).fetch_all(admin).await?;
    anyhow::ensure!(micros.len() == due as usize, "{due} slots made {} deliveries", micros.len());
    Ok(micros.into_iter().map(|micros| micros.max(0.0) as u32).collect())
}

/// Copies of one timer, due within a year, but not soon.
async fn seed(admin: &mut PgConnection, source: &str, many: i32) -> anyhow::Result<()> {
    let source: shared_models::SourceId = source.parse()?;
    sqlx::raw_sql("create temporary table copy (t uuid, s uuid)").execute(&mut *admin).await?;
    sqlx::query(
        "insert into copy select gen_random_uuid(), gen_random_uuid() from generate_series(1, $1)",
    )
    .bind(many)
    .execute(&mut *admin)
    .await?;
    for copy in SEED {
        sqlx::query(copy).bind(source.uuid()).execute(&mut *admin).await?;
    }
    sqlx::raw_sql("vacuum analyze eventsvc.source, eventsvc.trigger, eventsvc.timer")
        .execute(admin)
        .await?;
    Ok(())
}

const SEED: [&str; 3] = [
    "insert into eventsvc.source (source_id, tenant_id, system, options, options_key)
     select s, tenant_id, system, options, s::text from copy, eventsvc.source where source_id = $1",
    "insert into eventsvc.trigger (trigger_id, tenant_id, source_id, system, target_kind, target_id, options, owner_id,
         scope)
     select t, tenant_id, s, system, target_kind, target_id, options, owner_id, 'user'
     from copy, eventsvc.trigger where source_id = $1",
    "insert into eventsvc.timer (trigger_id, tenant_id, anchor_at, next_slot_at, next_due_at)
     select t, tenant_id, now(), n, n
     from eventsvc.trigger, (select t, now() + interval '1 day' + random() * interval '360 days' as n from copy) c
     where source_id = $1",
];

/// Slots are told apart by the anchor: the next one is a year later.
const SET: &str = "
    with chosen as (
        select trigger_id, now() + interval '2 seconds'
                   + make_interval(secs => $2 * row_number() over () / $1::float8) as at
        from (select trigger_id from eventsvc.timer order by next_due_at desc limit $1) c
    ), moved as (
        update eventsvc.timer t set anchor_at = c.at, next_slot_at = c.at, next_due_at = c.at
        from chosen c where t.trigger_id = c.trigger_id
    )
    select now()::text";
const FIRED: &str = "select count(*) from eventsvc.delivery where verified_by = 'schedule' and occurred_at > $1::timestamptz";
/// A delivery's row is never changed, so the transaction that wrote it is the one that made it.
const LATE: &str = "
    select extract(epoch from pg_xact_commit_timestamp(xmin) - occurred_at)::float8 * 1e6
    from eventsvc.delivery where verified_by = 'schedule' and occurred_at > $1::timestamptz";
