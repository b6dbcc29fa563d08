//! Runs that work for a run end with it, however that one ends.

use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use testkit::{Api, eventually, eventually_within};

use crate::harness::TestApp;
use crate::pausing::gated;
use crate::scene;
use crate::swarm_runs::{scripted, start, until_at};
use crate::swarms::swarm;
use crate::tools_agent::{delegates, employ};

/// An agent that works for as long as nobody stops it.
async fn busy(api: &Api) -> String {
    scene::scripted(api, "busy", &json!([{ "text": "late", "delay_ms": 600_000 }])).await
}

/// The only run that works for another one, once it has ended.
async fn ended_below(app: &TestApp) -> String {
    eventually_within(std::time::Duration::from_secs(45), "the run below to end", async || {
        let status: Option<String> = sqlx::query_scalar(
            "select status from engine.run where parent_run_id is not null and finish_reason is not null",
        )
        .fetch_optional(&mut app.db.admin().await)
        .await
        .unwrap();
        status
    })
    .await
}

async fn is_at_work_below(app: &TestApp) {
    eventually("the run below to be at work", async || {
        let thinks: bool = sqlx::query_scalar(
            "select exists (select from engine.journal j join engine.run r using (run_id)
                            where r.parent_run_id is not null and j.kind = 'model_called')",
        )
        .fetch_one(&mut app.db.admin().await)
        .await
        .unwrap();
        thinks.then_some(())
    })
    .await;
}

/// Has the commit of each new run that works for another one wait for as long as `holder` does not let go.
async fn slow_commits(app: &TestApp, holder: &mut PgConnection) {
    sqlx::raw_sql(
        "create function public.wait_at_commit() returns trigger language plpgsql as $$ begin
             perform pg_advisory_xact_lock_shared(4711); return null; end $$;
         create constraint trigger wait_at_commit after insert on engine.run deferrable initially deferred
             for each row when (new.parent_run_id is not null) execute function public.wait_at_commit()",
    )
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    sqlx::query("select pg_advisory_lock(4711)").execute(holder).await.unwrap();
}

async fn commits(app: &TestApp) {
    waits(app, "wait_event = 'advisory' and query ilike 'commit%'").await;
}

/// Somebody waits who stops a run, or looks for those that work for it.
async fn looks_below(app: &TestApp) {
    waits(app, "wait_event_type = 'Lock' and query like '%for no key update%'").await;
}

async fn waits(app: &TestApp, which: &str) {
    let waits = format!(
        "select exists (select from pg_stat_activity where datname = current_database() and {which})"
    );
    eventually_within(std::time::Duration::from_secs(45), which, async || {
        let asked = sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(waits.clone()));
        asked.fetch_one(&mut app.db.admin().await).await.unwrap().then_some(())
    })
    .await;
}

/// Two members beside each other: one has another agent work for it, the other one fails after its call.
async fn pair(api: &Api, server: &str) -> String {
    let busy = busy(api).await;
    let asks = scripted(api, "asks", delegates(&["help"])).await;
    employ(api, asks["agent_id"].as_str().unwrap(), "help", &busy).await;
    let call = json!({ "tool_calls": [{ "name": "look", "arguments": {} }] });
    let fails = scripted(api, "fails", json!([call, { "fail": { "status": 400 } }])).await;
    let agent = fails["agent_id"].as_str().unwrap();
    scene::tool_within(api, agent, "look", server, ("read", 60_000)).await;
    let pair = json!({ "name": "pair", "flow": "(asks | fails)", "members": [asks, fails] });
    swarm(api, &pair).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_works_for_a_member_is_stopped_when_another_members_failure_is_the_end_of_all() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, gate) = gated(0).await;
    let run = start(&api, &pair(&api, &server.url()).await).await;
    until_at(&app, &run, "asks", "tool_waiting").await;
    is_at_work_below(&app).await;

    gate.0.open();

    scene::until(&api, &run, "failed").await;
    assert_eq!(ended_below(&app).await, "cancelled");
}

#[tokio::test]
async fn a_run_that_was_just_being_made_is_stopped_with_the_one_it_is_for() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let lead = scene::scripted(&api, "lead", &delegates(&["help"])).await;
    employ(&api, &lead, "help", &busy(&api).await).await;
    let mut holder = app.db.admin().await;
    slow_commits(&app, &mut holder).await;
    let run = scene::start(&api, &lead).await;
    commits(&app).await;

    let (path, nothing) = (format!("/v1/runs/{run}/cancel"), json!({}));
    let (cancelled, ()) = tokio::join!(api.post(&path, &nothing), async {
        looks_below(&app).await;
        holder.close().await.unwrap();
    });
    cancelled.expect(202);

    scene::until(&api, &run, "cancelled").await;
    assert_eq!(ended_below(&app).await, "cancelled");
}
