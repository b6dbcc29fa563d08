use std::time::Duration;

use serde_json::json;
use shared_models::{RunId, Service};
use sqlx::PgConnection;

use super::scene::Scene;
use crate::{
    bench::Bench,
    figure::{Figure, median},
    fleet::{Fleet, Settled, text},
    load::{self, Answer, Traffic, request},
};

/// Even a slow machine is done by then.
const PATIENCE: Duration = Duration::from_secs(120);
const CONNECTIONS: usize = 64;

/// What an engine does about a great many runs that wait for people: nothing; and then many are answered at once.
pub(super) async fn measure(bench: &mut Bench, fleet: &Fleet, scene: &Scene) -> anyhow::Result<()> {
    let (many, answered) = if bench.quick { (2_000, 50) } else { (100_000, 1_000) };
    let mut admin = fleet.onlooker().await?;
    crate::progress(&format!("{many} waiting runs"));
    let run = wait_for_a_person(fleet, &mut admin).await?;
    let memory = || fleet.own_processes().memory().get(Service::Engine.name()).copied();
    let before = memory().unwrap_or_default();
    seed(&mut admin, run, many).await?;
    let mut settled = Settled::new(fleet).await?;
    settled.everything().await?;
    let idle = idle(bench, fleet).await;
    let after = memory().unwrap_or_default();
    let idle = idle.with("engine MB", after).with("engine MB more than before", after - before);
    bench.report.row("waiting runs", &format!("{many} wait"), idle);

    crate::progress(&format!("{answered} of them answered at once"));
    let runs: Vec<String> = sqlx::query_scalar(CHOSEN).bind(answered).fetch_all(&mut admin).await?;
    let door = fleet.door(Service::Engine);
    let answers = Answers::new(&runs, &scene.token(fleet, Service::Engine)?);
    let total = runs.len();
    let sample = load::closed_loop(door, CONNECTIONS, total, PATIENCE, answers.into()).await?;
    anyhow::ensure!(sample.errors.is_empty(), "answers were refused: {:?}", sample.errors);
    settled.everything().await?;
    for (what, question) in [("go on", RESUMED), ("end", ENDED)] {
        let micros: Vec<f64> = sqlx::query_scalar(question).fetch_all(&mut admin).await?;
        anyhow::ensure!(micros.len() == total, "{total} were answered and {} {what}", micros.len());
        let micros = micros.into_iter().map(|micros| micros.max(0.0) as u32).collect();
        let name = format!("answered until they {what}, {answered} of {many} at once");
        bench.report.row("waiting runs", &name, Figure::of_latencies(micros));
    }
    // What follows is measured without them.
    for table in TABLES {
        let delete = format!("delete from engine.{table} where run_id in (select id from copy)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(delete)).execute(&mut admin).await?;
    }
    sqlx::raw_sql("delete from engine.content where root_run_id in (select id from copy)")
        .execute(&mut admin)
        .await?;
    sqlx::raw_sql("vacuum analyze engine.run, engine.journal").execute(&mut admin).await?;
    Ok(())
}

/// One run that asks a person and waits.
async fn wait_for_a_person(fleet: &Fleet, admin: &mut PgConnection) -> anyhow::Result<RunId> {
    let api = &fleet.api;
    let tool = json!({ "name": "ask", "kind": "builtin", "config": { "builtin": "ask_human" } });
    let tool = text(&api.post("/v1/tools", &tool).await?, "tool_id")?;
    let turns = json!([
        { "tool_calls": [{ "name": "ask", "arguments": { "question": "May I?" } }] },
        { "text": "Thank you." },
    ]);
    let agent = json!({ "name": "asker", "model": "sim:script",
        "instructions": format!("```sim\n{turns}\n```") });
    let agent = text(&api.post("/v1/agents", &agent).await?, "agent_id")?;
    api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &json!({})).await?;
    let body = json!({ "agent_id": agent, "input": "Go on when you may." });
    let run: RunId = text(&api.post("/v1/runs", &body).await?, "run_id")?.parse()?;
    let waits = "select status = 'waiting' from engine.run where run_id = $1";
    let until = tokio::time::Instant::now() + PATIENCE;
    while !sqlx::query_scalar::<_, bool>(waits).bind(run.uuid()).fetch_one(&mut *admin).await? {
        anyhow::ensure!(tokio::time::Instant::now() < until, "the run does not wait");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(run)
}

/// The tables with rows of a run, by `run_id`.
const TABLES: [&str; 6] = ["run_signal", "run_timer", "effect", "journal", "run_snapshot", "run"];

/// Copies of the run, as they would be if each had been made and had asked.
async fn seed(admin: &mut PgConnection, run: RunId, many: i32) -> anyhow::Result<()> {
    sqlx::raw_sql("create temporary table copy (id uuid primary key)").execute(&mut *admin).await?;
    sqlx::query("insert into copy select gen_random_uuid() from generate_series(1, $1)")
        .bind(many)
        .execute(&mut *admin)
        .await?;
    // They asked so long ago that their deadlines would have passed, did the clock not stand still.
    for shift in [
        "update engine.run set deadline_at = deadline_at - interval '2 hours', held_at = held_at - interval '2 hours'
         where run_id = $1",
        "update engine.run_timer set due_at = due_at - interval '2 hours' where run_id = $1",
    ] {
        sqlx::query(shift).bind(run.uuid()).execute(&mut *admin).await?;
    }
    for table in TABLES.iter().rev().copied().chain(["content"]) {
        let key = if table == "content" { "root_run_id" } else { "run_id" };
        let copy = format!(
            "insert into engine.{table}
             select (jsonb_populate_record(r, case when '{table}' = 'run'
                 then jsonb_build_object('run_id', copy.id, 'root_run_id', copy.id)
                 else jsonb_build_object('{key}', copy.id) end)).*
             from engine.{table} r, copy where r.{key} = $1"
        );
        // No one has been told anything yet.
        if table != "run_signal" {
            sqlx::query(sqlx::AssertSqlSafe(copy)).bind(run.uuid()).execute(&mut *admin).await?;
        }
    }
    sqlx::raw_sql(
        "analyze engine.run, engine.journal, engine.run_timer, engine.content, engine.run_snapshot",
    )
    .execute(admin)
    .await?;
    Ok(())
}

/// Processor time while nobody answers, in percent of one processor.
async fn idle(bench: &Bench, fleet: &Fleet) -> Figure {
    let processes = fleet.processes();
    let (mut engine, mut postgres) = (Vec::new(), Vec::new());
    let while_ = bench.plan.measure * 2;
    for _ in 0..bench.plan.repeats.min(3) {
        let before = processes.cpu();
        tokio::time::sleep(while_).await;
        let after = processes.cpu();
        let percent = |name: &str| {
            let spent = after.get(name).zip(before.get(name)).map_or(0.0, |(a, b)| a - b);
            100.0 * spent / while_.as_secs_f64()
        };
        engine.push(percent(Service::Engine.name()));
        postgres.push(percent("postgres"));
    }
    Figure::of([
        ("engine cpu %", median(engine).unwrap_or_default()),
        ("postgres cpu %", median(postgres).unwrap_or_default()),
    ])
}

/// An answer for each run.
struct Answers(Vec<Vec<u8>>);

impl Answers {
    fn new(runs: &[String], token: &str) -> Self {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", &*authorization), ("content-type", "application/json")];
        let answer = |run: &String| {
            request("POST", &format!("/v1/runs/{run}/input"), &headers, br#"{"answer":"yes"}"#)
        };
        Self(runs.iter().map(answer).collect())
    }
}

impl Traffic for Answers {
    fn write(&self, n: usize, request: &mut Vec<u8>) {
        request.extend_from_slice(&self.0[n]);
    }

    fn wrong(&self, answer: &Answer<'_>) -> Option<String> {
        answer.unless(202, "")
    }
}

const CHOSEN: &str = "select 'run_' || replace(id::text, '-', '') from copy order by id limit $1";
/// From when an answer was there to when the run's next record was, and to its end, by Postgres' own clock.
const RESUMED: &str = "
    select extract(epoch from min(j.at) - min(s.created_at))::float8 * 1e6
    from engine.run_signal s join copy on copy.id = s.run_id join engine.journal j on j.run_id = s.run_id and j.kind = 'resumed'
    group by s.run_id";
const ENDED: &str = "
    select extract(epoch from r.finished_at - s.created_at)::float8 * 1e6
    from engine.run_signal s join copy on copy.id = s.run_id join engine.run r on r.run_id = s.run_id
    where r.finished_at is not null";
