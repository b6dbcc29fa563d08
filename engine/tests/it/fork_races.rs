//! A fork that is made while its source is being forgotten: it has all of it, or is refused.
//!
//! Whoever comes second finds what the first has done: a fork waits for the row that is locked for forgetting, and whoever
//! forgets passes over a row that a fork has changed, also when it looked before the fork was there.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use testkit::{Api, eventually_within};

use crate::forks::{ended, fork, id};
use crate::harness::TestApp;
use crate::scene;

const FORGET: &str = include_str!("../../src/store/forget_content.sql");

/// An engine that forgets nothing by itself.
async fn app() -> TestApp {
    TestApp::start_with(&[("SWITCHYARD_PRUNE_MS", "86400000")]).await
}

/// A run that is due to be forgotten.
async fn due(app: &TestApp, api: &Api) -> String {
    let agent = scene::agent(api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let run = ended(api, &agent).await;
    let age =
        "update engine.run set finished_at = now() - interval '50 days' where run_id = $1::uuid";
    sqlx::query(age).bind(scene::bare(&run)).execute(&mut app.db.admin().await).await.unwrap();
    run
}

/// Forgets what is due, as the worker does; says how many trees.
async fn forget(connection: &mut PgConnection) -> i64 {
    let forget = sqlx::query_scalar(FORGET).bind(30).bind(200_i64).bind(400);
    forget.fetch_one(connection).await.unwrap()
}

/// Waits until somebody waits for this kind of lock.
async fn until_somebody_waits(app: &TestApp, kind: &str) {
    let mut admin = app.db.admin().await;
    let waits = "select count(*) > 0 from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and wait_event = $1";
    eventually_within(Duration::from_secs(60), "somebody to wait for the lock", async || {
        let waits = sqlx::query_scalar::<_, bool>(waits).bind(kind).fetch_one(&mut admin).await;
        waits.unwrap().then_some(())
    })
    .await;
}

/// Runs that are there, and what they hold of others.
async fn there(app: &TestApp) -> (i64, i64, i64) {
    let counts = "select (select count(*) from engine.run), (select count(*) from engine.run_link),
                      (select count(*) from engine.content_hold)";
    sqlx::query_as(counts).fetch_one(&mut app.db.admin().await).await.unwrap()
}

/// The fork ends as its source did, and both still have all that was said.
async fn is_whole(api: &Api, run: &str, fork: &str) {
    assert_eq!(scene::until(api, fork, "succeeded").await["output"], "go");
    let said = async |run: &str| api.get(&format!("/v1/runs/{run}/messages")).await.expect(200);
    let (source, fork) = (said(run).await, said(fork).await);
    assert_eq!(source["items"], fork["items"]);
    assert_eq!(source["items"].as_array().unwrap().len(), 2, "{source}");
}

/// From now on whoever does something stands still in the middle of it, while the test holds the lock.
pub(crate) async fn stand_still(app: &TestApp, how: &str) -> PgConnection {
    let mut admin = app.db.admin().await;
    let function = "create function engine.stand_still() returns boolean language plpgsql as
        $$ begin perform pg_advisory_xact_lock(7); return true; end $$";
    for sql in [function, how, "select pg_advisory_lock(7)"] {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await.unwrap();
    }
    admin
}

pub(crate) async fn go_on(mut admin: PgConnection) {
    sqlx::raw_sql("select pg_advisory_unlock(7)").execute(&mut admin).await.unwrap();
}

#[tokio::test]
async fn a_fork_waits_for_whoever_is_forgetting_its_source_and_is_refused_when_that_is_done() {
    let app = app().await;
    let api = app.person(&app.trust.owner());
    let run = due(&app, &api).await;
    let mut tx = app.db.db("engine").await.system("a test").await.unwrap();
    assert_eq!(forget(&mut tx).await, 1);

    let (path, body) = (format!("/v1/runs/{run}/fork"), json!({}));
    let (refused, ()) = tokio::join!(api.post(&path, &body), async {
        until_somebody_waits(&app, "transactionid").await;
        tx.commit().await.unwrap();
    });

    assert_eq!(refused.refusal(), (410, "run_pruned"));
    assert_eq!(there(&app).await, (1, 0, 0), "nothing of the fork is left");
}

#[tokio::test]
async fn a_fork_that_has_waited_for_somebody_who_then_forgets_nothing_is_whole() {
    let app = app().await;
    let api = app.person(&app.trust.owner());
    let run = due(&app, &api).await;
    let mut tx = app.db.db("engine").await.system("a test").await.unwrap();
    assert_eq!(forget(&mut tx).await, 1);

    let body = json!({});
    let (forked, ()) = tokio::join!(fork(&api, &run, &body), async {
        until_somebody_waits(&app, "transactionid").await;
        drop(tx);
    });

    is_whole(&api, &run, &id(&forked)).await;
}

#[tokio::test]
async fn who_forgets_passes_over_a_run_that_is_just_being_forked() {
    let app = app().await;
    let api = app.person(&app.trust.owner());
    let run = due(&app, &api).await;
    let db = app.db.db("engine").await;
    let in_the_middle = "create function engine.in_the_middle() returns trigger language plpgsql as
            $$ begin perform engine.stand_still(); return new; end $$;
        create trigger in_the_middle after update of forked_at on engine.run
            for each row execute function engine.in_the_middle()";
    let admin = stand_still(&app, in_the_middle).await;

    let body = json!({});
    let (forked, forgotten) = tokio::join!(fork(&api, &run, &body), async {
        until_somebody_waits(&app, "advisory").await;
        let mut tx = db.system("a test").await.unwrap();
        let forgotten = forget(&mut tx).await;
        tx.commit().await.unwrap();
        go_on(admin).await;
        forgotten
    });

    assert_eq!(forgotten, 0, "the row is the fork's");
    let mut tx = db.system("a test").await.unwrap();
    assert_eq!(forget(&mut tx).await, 0, "and a short while ago it was");
    is_whole(&api, &run, &id(&forked)).await;
}

#[tokio::test]
async fn who_forgets_passes_over_a_run_that_was_forked_after_they_had_looked() {
    let app = app().await;
    let api = app.person(&app.trust.owner());
    let run = due(&app, &api).await;
    let kept: Value = json!({ "content_days": 30 });
    api.patch("/v1/settings/retention", &kept).await.expect(200);
    // Terms are read before runs are locked, in one statement and so with one view of all rows.
    let when_it_reads =
        "create policy stand_still on engine.retention as restrictive for select to engine_system
        using (engine.stand_still())";
    let admin = stand_still(&app, when_it_reads).await;
    let mut tx = app.db.db("engine").await.system("a test").await.unwrap();

    let body = json!({});
    let (forgotten, forked) = tokio::join!(forget(&mut tx), async {
        until_somebody_waits(&app, "advisory").await;
        let forked = fork(&api, &run, &body).await;
        go_on(admin).await;
        forked
    });
    tx.commit().await.unwrap();

    assert_eq!(forgotten, 0);
    is_whole(&api, &run, &id(&forked)).await;
}
