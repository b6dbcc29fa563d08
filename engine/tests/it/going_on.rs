//! What the other services are told of runs that wait and go on.

use engine::CrashPoints;
use serde_json::{Value, json};
use sqlx::Row as _;
use testkit::{Answer, Api, Stub, eventually};

use crate::budgets::{price, turn, with_budget};
use crate::harness::TestApp;
use crate::reconnect::{Scene, on_a_broken_model};
use crate::{pausing, scene, swarm_runs, swarms};

/// What was told of a run behind its beginning, in order: of what, what it waits for or has waited for, and who did it.
async fn told(app: &TestApp, run: &str) -> Vec<String> {
    let rows = sqlx::query(
        "select envelope ->> 'type', envelope -> 'data' from engine.outbox
         where envelope -> 'data' ->> 'run_id' = $1 and envelope ->> 'type' like 'run.%'
           and envelope ->> 'type' not in ('run.created', 'run.started')
         order by (envelope ->> 'occurred_at')::timestamptz, created_at",
    )
    .bind(run)
    .fetch_all(&mut app.db.admin().await)
    .await
    .unwrap();
    let word = |row: &sqlx::postgres::PgRow| {
        let (kind, data): (String, Value) = (row.get(0), row.get(1));
        let more = ["reason", "after", "by"].map(|name| data[name].as_str());
        let more = more.into_iter().flatten();
        [kind.as_str()].into_iter().chain(more).collect::<Vec<_>>().join(" ")
    };
    rows.iter().map(word).collect()
}

/// Waits until the run has come to rest so many times.
async fn rested(app: &TestApp, run: &str, times: usize) {
    eventually("the run to rest", async || {
        let kinds = scene::kinds(&app.db, run).await;
        (kinds.iter().filter(|kind| *kind == "waiting").count() == times).then_some(())
    })
    .await;
}

async fn settle(api: &Api, run: &str, call: &Value) {
    let path = format!("/v1/runs/{run}/effects/{}/answer", call["call_id"].as_str().unwrap());
    let answer = json!({ "outcome": "happened", "path": call["path"] });
    api.post(&path, &answer).await.expect(202);
}

/// An agent that may spend so little that its second turn has to wait.
async fn poor(api: &Api) -> String {
    price(api).await;
    let mut first = turn("half of", 150, 550);
    first["finish"] = json!("length");
    let turns = json!([first, turn("the rest", 10, 10)]);
    with_budget(api, "a", &turns, json!({ "max_cost_micro_usd": 1_350 })).await
}

async fn raise(api: &Api, run: &str, to: u32) {
    let path = format!("/v1/runs/{run}/budget");
    api.post(&path, &json!({ "max_cost_micro_usd": to })).await.expect(200);
}

#[tokio::test]
async fn a_raise_is_told_of_when_it_is_enough_for_the_run_to_go_on() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let run = scene::start(&api, &poor(&api).await).await;
    rested(&app, &run, 1).await;

    raise(&api, &run, 1_351).await;
    rested(&app, &run, 2).await;
    let waits = ["run.waiting budget", "run.waiting budget"];
    assert_eq!(told(&app, &run).await, waits, "nothing has changed");
    raise(&api, &run, 5_000).await;

    scene::until(&api, &run, "succeeded").await;
    let goes_on = ["run.resumed budget", "run.finished"];
    assert_eq!(told(&app, &run).await, [waits, goes_on].concat());
}

#[tokio::test]
async fn a_run_goes_on_when_the_last_of_its_doubts_is_settled() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let broken = Stub::start(|_| Answer::Reset).await;
    let calls = ["pay", "send"].map(|name| json!({ "name": name, "arguments": {} }));
    let turns = json!([{ "tool_calls": calls }, { "text": "done" }]);
    let agent = scene::scripted(&api, "a", &turns).await;
    for name in ["pay", "send"] {
        scene::tool(&api, &agent, name, &broken.url(), "unsafe").await;
    }
    let run = scene::start(&api, &agent).await;
    rested(&app, &run, 1).await;
    let doubts = scene::get(&api, &run).await["in_doubt"].take();

    settle(&api, &run, &doubts[0]).await;
    rested(&app, &run, 2).await;
    assert!(!told(&app, &run).await.contains(&"run.resumed doubt".to_owned()));
    settle(&api, &run, &doubts[1]).await;

    scene::until(&api, &run, "succeeded").await;
    let all = ["run.waiting doubt", "run.waiting doubt", "run.resumed doubt", "run.finished"];
    assert_eq!(told(&app, &run).await, all);
}

#[tokio::test]
async fn a_run_whose_credential_is_connected_again_is_told_to_go_on() {
    let all = ["run.waiting auth", "run.resumed auth", "run.finished"];
    let (scene, _server, of_model) = on_a_broken_model(None).await;
    scene.app.peers.set(scene.credential, json!({ "api_key": "k", "access_token": "t0ken" }));
    let runs = [&of_model, &scene.agent].map(|agent| scene::start(&scene.api, agent));
    let runs = futures::future::join_all(runs).await;
    for run in &runs {
        scene::until(&scene.api, run, "waiting").await;
    }

    connect(&scene).await;

    for run in &runs {
        scene::until(&scene.api, run, "succeeded").await;
        assert_eq!(told(&scene.app, run).await, all);
    }
}

async fn connect(scene: &Scene) {
    scene.app.peers.connect(scene.credential);
    scene.tell(&scene.health("ok")).await;
}

#[tokio::test]
async fn a_run_that_was_paused_while_it_waited_goes_on_once() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let run = scene::start(&api, &pausing::asking(&api, "a").await).await;
    rested(&app, &run, 1).await;

    pausing::pause(&api, &run).await;
    scene::until(&api, &run, "paused").await;
    pausing::resume(&api, &run).await;
    rested(&app, &run, 2).await;
    let path = format!("/v1/runs/{run}/input");
    api.post(&path, &json!({ "answer": "fine" })).await.expect(202);

    scene::until(&api, &run, "succeeded").await;
    let by = owner.user;
    let (paused, resumed) = (format!("run.paused {by}"), format!("run.resumed {by}"));
    let all = [
        "run.waiting input",
        &paused,
        &resumed,
        "run.waiting input",
        "run.resumed input",
        "run.finished",
    ];
    assert_eq!(told(&app, &run).await, all);
}

#[tokio::test]
async fn a_swarm_goes_on_with_the_member_it_has_waited_for() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let broken = Stub::start(|_| Answer::Reset).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &broken.url(), "unsafe").await;
    let fields = json!({ "name": "s", "members": [swarms::member(&agent, "a")] });
    let run = swarm_runs::start(&api, &swarms::swarm(&api, &fields).await).await;
    let waits = scene::until(&api, &run, "waiting").await;

    settle(&api, &run, &waits["in_doubt"][0]).await;

    scene::until(&api, &run, "succeeded").await;
    let all = ["run.waiting doubt", "run.resumed doubt", "run.finished"];
    assert_eq!(told(&app, &run).await, all);
}

#[tokio::test]
async fn a_run_whose_process_dies_when_it_has_just_gone_on_is_not_told_to_go_on_twice() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let points = CrashPoints::default();
    let node = app.node_watched(&points).await;
    let run = scene::start(&api, &poor(&api).await).await;
    rested(&app, &run, 1).await;
    let root = run.parse().unwrap();
    // The second turn was asked for when there was no room, and is now asked.
    points.arm(root, "run: after asking sim:script #2");

    raise(&api, &run, 5_000).await;
    eventually("the process to stop", async || points.has_stopped(root).then_some(())).await;
    assert_eq!(told(&app, &run).await, ["run.waiting budget", "run.resumed budget"]);
    node.kill();
    sqlx::query("update engine.worker set lease_until = now() - interval '1 hour'")
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();
    let _heir = app.node().await;

    scene::until(&api, &run, "succeeded").await;
    let all = ["run.waiting budget", "run.resumed budget", "run.finished"];
    assert_eq!(told(&app, &run).await, all);
}
