//! What tests of runs begin with: an agent with a script, tools that point at a counting server, and what came of it.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{PgConnection, Row as _};
use testkit::{Api, TestDb, eventually_within};

/// An agent that plays these turns.
pub(crate) async fn scripted(api: &Api, name: &str, turns: &Value) -> String {
    agent(api, &json!({ "name": name, "model": "sim:script", "instructions": script(turns) })).await
}

pub(crate) fn script(turns: &Value) -> String {
    format!("```sim\n{turns}\n```")
}

pub(crate) async fn agent(api: &Api, body: &Value) -> String {
    let made = api.post("/v1/agents", body).await.expect(201);
    made["agent_id"].as_str().unwrap().to_owned()
}

/// Gives the agent a tool that posts to `url`.
pub(crate) async fn tool(api: &Api, agent: &str, name: &str, url: &str, effect: &str) {
    tool_within(api, agent, name, url, (effect, 2000)).await;
}

/// The same with a time limit of its own.
pub(crate) async fn tool_within(
    api: &Api,
    agent: &str,
    name: &str,
    url: &str,
    (effect, timeout_ms): (&str, u32),
) {
    let fields = json!({ "name": name, "kind": "http", "effect": effect, "timeout_ms": timeout_ms,
        "parameters": { "type": "object", "properties": { "n": {} } },
        "config": { "method": "POST", "url": url } });
    let made = api.post("/v1/tools", &fields).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
}

/// Calls the tools of these names, one turn each, then says what the last one said.
pub(crate) fn calls(names: &[&str]) -> Value {
    let call = |name: &&str| json!({ "tool_calls": [{ "name": name, "arguments": { "n": 1 } }] });
    let mut turns: Vec<Value> = names.iter().map(call).collect();
    turns.push(json!({ "text": "told: {{last_tool_result}}" }));
    turns.into()
}

/// Starts a run and gives its id.
pub(crate) async fn start(api: &Api, agent: &str) -> String {
    let made = api.post("/v1/runs", &json!({ "agent_id": agent, "input": "go" })).await.expect(201);
    made["run_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn get(api: &Api, run: &str) -> Value {
    api.get(&format!("/v1/runs/{run}")).await.expect(200)
}

/// The run, once it has this status.
pub(crate) async fn until(api: &Api, run: &str, status: &str) -> Value {
    let limit = Duration::from_secs(45);
    eventually_within(limit, &format!("the run to be {status}"), async || {
        let run = get(api, run).await;
        (run["status"] == status).then_some(run)
    })
    .await
}

/// The kinds of the run's records, in order.
pub(crate) async fn kinds(db: &TestDb, run: &str) -> Vec<String> {
    let mut admin = db.admin().await;
    sqlx::query("select kind from engine.journal where run_id = $1::uuid order by seq")
        .bind(bare(run))
        .fetch_all(&mut admin)
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// An id as the database has it.
pub(crate) fn bare(id: &str) -> String {
    id.split_once('_').unwrap().1.to_owned()
}

/// The records of an event stream as `(id, event, data)`; those without an id are left out.
pub(crate) fn records(stream: &str) -> Vec<(i64, String, Value)> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.map(|value| value.trim_start_matches(": ").trim_start_matches(':').to_owned())
    };
    stream
        .split("\n\n")
        .filter_map(|block| {
            let id = field(block, "id")?.trim().parse().ok()?;
            let data = serde_json::from_str(&field(block, "data")?).unwrap();
            Some((id, field(block, "event")?.trim().to_owned(), data))
        })
        .collect()
}

/// Everything a run's stream says from after `last` until it ends.
pub(crate) async fn stream(api: &Api, run: &str, last: i64) -> String {
    let api = api.header("last-event-id", &last.to_string());
    let reply = api.get(&format!("/v1/runs/{run}/events")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.text
}

/// Which server process does what this connection asks for.
pub(crate) async fn pid(connection: &mut PgConnection) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await.unwrap()
}

/// Locks a run in the transaction of this connection.
pub(crate) async fn lock(holder: &mut PgConnection, run: &str) {
    let lock = "select run_id from engine.run where run_id = $1::uuid for update";
    sqlx::query(lock).bind(bare(run)).execute(holder).await.unwrap();
}

/// A request waits for a run that this server process holds.
pub(crate) async fn somebody_waits_for(db: &TestDb, pid: i32) {
    let mut admin = db.admin().await;
    let waits = "select count(*) > 0 from pg_stat_activity
                 where $1 = any (pg_blocking_pids(pid)) and query like '%for no key update%'";
    eventually_within(Duration::from_secs(60), "the request to wait", async || {
        let waits = sqlx::query_scalar::<_, bool>(waits).bind(pid);
        waits.fetch_one(&mut admin).await.unwrap().then_some(())
    })
    .await;
}
