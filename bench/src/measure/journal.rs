use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    bench::Bench,
    figure::Figure,
    fleet::{Fleet, text},
};

/// About what a page of 800 tokens has.
const PAGE_BYTES: usize = 3_200;

/// What a long run takes on paper: model and tool by turns, every tool's answer another page. Beside what was said, once,
/// and how straight a line its size is over its records.
pub(super) async fn measure(bench: &mut Bench, fleet: &Fleet) -> anyhow::Result<()> {
    let pages = if bench.quick { 25 } else { 250 };
    crate::progress(&format!("a run of {} calls", 2 * pages));
    let url = format!("http://{}/page/{PAGE_BYTES}", bench.mock_at);
    let tool = fleet.api.tool("read_page", "read", &url).await?;
    let call = |n: usize| json!({ "tool_calls": [{ "name": "read_page", "arguments": { "text": format!("page {n}") } }] });
    let mut turns: Vec<Value> = (0..pages).map(call).collect();
    turns.push(json!({ "text": "All pages are read." }));
    let agent = json!({ "name": "reader", "model": "sim:script", "max_steps": 2 * pages,
        "instructions": format!("```sim\n{}\n```", Value::from(turns)) });
    let agent = text(&fleet.api.post("/v1/agents", &agent).await?, "agent_id")?;
    fleet.api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &json!({})).await?;
    let started = std::time::Instant::now();
    let body = json!({ "agent_id": agent, "input": "Read them all.", "wait": 60 });
    let made = fleet.api.post("/v1/runs", &body).await?;
    let took = started.elapsed().as_secs_f64();
    anyhow::ensure!(made["status"] == "succeeded", "the long run has not ended well: {made}");
    let run: shared_models::RunId = text(&made, "run_id")?.parse()?;
    let mut onlooker = fleet.onlooker().await?;
    let figure = size(&mut onlooker, run).await?.with("run s", took);
    bench.report.row("journal", &format!("run of {} calls", 2 * pages), figure);
    Ok(())
}

async fn size(onlooker: &mut PgConnection, run: shared_models::RunId) -> anyhow::Result<Figure> {
    let (said, records, stored): (i64, i64, i64) =
        sqlx::query_as(SIZE).bind(run.uuid()).fetch_one(&mut *onlooker).await?;
    let (fit, worst): (f64, f64) =
        sqlx::query_as(FIT).bind(run.uuid()).fetch_one(&mut *onlooker).await?;
    let of_said = |bytes: i64| bytes as f64 / said as f64;
    Ok(Figure::of([
        ("messages kB", said as f64 / 1000.0),
        ("records kB", records as f64 / 1000.0),
        ("journal / messages", of_said(said + records)),
        ("stored / messages", of_said(stored)),
        ("linear r2", fit),
        ("worst residual %", 100.0 * worst),
    ]))
}

/// What was said, each message once; what the records say, as text; and both as Postgres keeps them, with its own headers
/// and compression.
const SIZE: &str = "
    select (select sum(octet_length(body)) from engine.content where root_run_id = $1)::int8,
           (select sum(octet_length(kind) + octet_length(path) + octet_length(data::text)) from engine.journal where run_id = $1)::int8,
           ((select sum(pg_column_size(c.*)) from engine.content c where root_run_id = $1)
            + (select sum(pg_column_size(j.*)) from engine.journal j where run_id = $1))::int8";

/// The records' size so far over their number: how well a line fits, and the largest distance from it as a part of all.
const FIT: &str = "
    with grown as (
        select seq::float8 as n,
               sum(octet_length(kind) + octet_length(path) + octet_length(data::text)) over (order by seq)::float8 as bytes
        from engine.journal where run_id = $1
    ), line as (
        select regr_slope(bytes, n) as slope, regr_intercept(bytes, n) as base, regr_r2(bytes, n) as fit, max(bytes) as all
        from grown
    )
    select max(fit), max(abs(bytes - base - slope * n)) / max(line.all) from grown, line";
