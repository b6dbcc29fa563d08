//! `kill -9` of the engine at every kind of moment, and of NATS: the run ends, or asks; nothing unsafe happens twice.

use std::time::Duration;

use e2e::{Fleet, Scene, follow, script};
use serde_json::{Value, json};
use shared_models::Service;
use testkit::{Answer, Stub, eventually_within};

const PAUSE: Duration = Duration::from_secs(3);

fn turns(tool: &str, model_delay: u64) -> Value {
    json!([
        { "tool_calls": [{ "name": tool, "arguments": { "text": "go" } }], "delay_ms": model_delay },
        { "text": "done", "delay_ms": model_delay },
    ])
}

/// A short lease, so that the tests need not wait as long as production does.
async fn fleet(outside: &Stub) -> Fleet {
    let allow = format!("127.0.0.1:{}", outside.port());
    Fleet::start(&[("SWITCHYARD_EGRESS_ALLOW", &allow), ("SWITCHYARD_WORKER_LEASE_MS", "2000")])
        .await
}

async fn hits(outside: &Stub, count: usize) {
    eventually_within(Duration::from_secs(30), "the tool to be called", async || {
        (outside.hits("/act") >= count).then_some(())
    })
    .await;
}

/// All services, and an agent whose one tool reaches the server outside.
async fn stage(outside: &Stub, name: &str, effect: &str, model_delay: u64) -> (Fleet, Scene) {
    let fleet = fleet(outside).await;
    let turns = turns(&Scene::tool_name(name), model_delay);
    let (api, url) = (fleet.api(), format!("{}/act", outside.url()));
    let scene = Scene::make(&api, &fleet.tenant, name, effect, &url, "a-secret-of-tests", &turns);
    let scene = scene.await;
    (fleet, scene)
}

/// The journal has no gap and ends once.
async fn check_journal(fleet: &Fleet, run: &str) {
    let events = follow(&fleet.url(), &fleet.key, run).await;
    let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
    let first = ids[0];
    assert_eq!(ids, (first..first + ids.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_the_model_call_the_run_goes_on_and_ends() {
    let outside = Stub::start(|_| Answer::Json(200, json!({ "ok": true }))).await;
    let (mut fleet, scene) = stage(&outside, "model", "unsafe", 4000).await;

    let run = scene.run("go").await;
    scene.until(&run, &["running"]).await;
    fleet.kill("engine");
    fleet.restart(Service::Engine).await;

    let done = scene.until(&run, &["succeeded", "failed", "waiting"]).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(outside.hits("/act"), 1);
    check_journal(&fleet, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_an_unsafe_tool_call_the_run_asks_and_ends_after_the_answer() {
    let outside =
        Stub::start(|_| Answer::After(PAUSE, Box::new(Answer::Json(200, json!({ "ok": true })))))
            .await;
    let (mut fleet, scene) = stage(&outside, "doubt", "unsafe", 0).await;

    let run = scene.run("go").await;
    hits(&outside, 1).await;
    fleet.kill("engine");
    fleet.restart(Service::Engine).await;

    scene.until_doubt(&run).await;
    let effects = fleet.api().get(&format!("/v1/runs/{run}/effects")).await.expect(200);
    let doubt =
        effects["items"].as_array().unwrap().iter().find(|effect| effect["state"] == "in_doubt");
    let call = doubt.expect("an effect in doubt")["call_id"].as_str().unwrap().to_owned();
    let answer = json!({ "outcome": "happened", "result": "it is done" });
    let answered =
        fleet.api().post(&format!("/v1/runs/{run}/effects/{call}/answer"), &answer).await;
    assert!((200..300).contains(&answered.status), "{}", answered.text);

    let done = scene.until(&run, &["succeeded", "failed"]).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(outside.hits("/act"), 1, "an unsafe call was repeated");
    check_journal(&fleet, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_a_read_the_call_is_repeated_and_the_run_ends_by_itself() {
    let outside =
        Stub::start(|_| Answer::After(PAUSE, Box::new(Answer::Json(200, json!({ "ok": true })))))
            .await;
    let (mut fleet, scene) = stage(&outside, "reads", "read", 0).await;

    let run = scene.run("go").await;
    hits(&outside, 1).await;
    fleet.kill("engine");
    fleet.restart(Service::Engine).await;

    let done = scene.until(&run, &["succeeded", "failed", "waiting"]).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(outside.hits("/act"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_calls_the_run_goes_on_without_repeating_the_tool() {
    let outside = Stub::start(|_| Answer::Json(200, json!({ "ok": true }))).await;
    let (mut fleet, scene) = stage(&outside, "between", "unsafe", 4000).await;

    let run = scene.run("go").await;
    // The effect is done and recorded; the second model call is on its way.
    eventually_within(Duration::from_secs(30), "the effect to be done", async || {
        let effects = fleet.api().get(&format!("/v1/runs/{run}/effects")).await;
        effects.body["items"]
            .as_array()?
            .iter()
            .any(|effect| effect["state"] == "done")
            .then_some(())
    })
    .await;
    fleet.kill("engine");
    fleet.restart(Service::Engine).await;

    let done = scene.until(&run, &["succeeded", "failed", "waiting"]).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(outside.hits("/act"), 1);
    check_journal(&fleet, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_while_nats_is_down_runs_once_when_it_is_back() {
    let outside = Stub::start(|_| Answer::Json(200, json!({ "ok": true }))).await;
    let (mut fleet, scene) = stage(&outside, "nats", "unsafe", 0).await;
    let before = scene.fire("msg_before", &json!({ "n": 0 })).await.expect(202);

    fleet.nats.kill().await;
    let during = scene.fire("msg_during", &json!({ "n": 1 })).await.expect(202);
    let again = scene.fire("msg_during", &json!({ "n": 1 })).await;
    assert_eq!((again.status, again.body["status"].as_str()), (200, Some("duplicate")));
    fleet.nats.restart().await.unwrap();
    let after = scene.fire("msg_after", &json!({ "n": 2 })).await.expect(202);

    for delivery in [before, during, after] {
        let run = scene.run_of(delivery["delivery_id"].as_str().unwrap()).await;
        let done = scene.until(&run, &["succeeded", "failed", "waiting"]).await;
        assert_eq!(done["status"], "succeeded", "{done}");
    }
    assert_eq!(outside.hits("/act"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_waits_for_a_person_and_for_the_far_end_the_run_goes_on_with_their_answers()
{
    let outside = Stub::start(|_| Answer::Json(202, json!("taken"))).await;
    let mut fleet = fleet(&outside).await;
    let api = fleet.api();
    let tool = json!({ "name": "work", "kind": "http", "effect": "unsafe", "approval": {},
        "parameters": { "type": "object", "properties": { "text": { "type": "string" } } },
        "config": { "method": "POST", "url": format!("{}/act", outside.url()), "callback": {} } });
    let tool = api.post("/v1/tools", &tool).await.expect(201)["tool_id"].clone();
    let agent = json!({ "name": "patient", "model": "sim:script", "instructions": script(&turns("work", 0)) });
    let agent = api.post("/v1/agents", &agent).await.expect(201)["agent_id"].clone();
    let (agent, tool) = (agent.as_str().unwrap(), tool.as_str().unwrap());
    api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &json!({})).await.expect(200);
    let made = api.post("/v1/runs", &json!({ "agent_id": agent, "input": "go" })).await.expect(201);
    let run = made["run_id"].as_str().unwrap().to_owned();
    let waits_for = async |fleet: &Fleet, reason: &str| {
        let what = format!("the run to wait for {reason}");
        eventually_within(Duration::from_secs(60), &what, async || {
            let seen = fleet.api().get(&format!("/v1/runs/{run}")).await;
            (seen.body["wait_reason"] == reason).then_some(())
        })
        .await;
    };

    waits_for(&fleet, "approval").await;
    fleet.kill("engine");
    fleet.restart(Service::Engine).await;
    waits_for(&fleet, "approval").await;
    assert_eq!(outside.hits("/act"), 0, "nobody has approved yet");
    let api = fleet.api();
    let open = api.get(&format!("/v1/approvals?status=open&run_id={run}")).await.expect(200);
    let asked = &open["items"][0];
    let path = format!("/v1/approvals/{}/approve", asked["approval_id"].as_str().unwrap());
    api.post(&path, &json!({ "binding": asked["binding"] })).await.expect(200);

    waits_for(&fleet, "callback").await;
    fleet.kill("engine");
    fleet.restart(Service::Engine).await;
    waits_for(&fleet, "callback").await;
    let token = outside.requests()[0].header("switchyard-callback-token").to_owned();
    let path = format!("/v1/callbacks/{token}");
    fleet.api().post(&path, &json!({ "result": "worked" })).await.expect(202);

    eventually_within(Duration::from_secs(60), "the run to end", async || {
        let seen = fleet.api().get(&format!("/v1/runs/{run}")).await;
        (seen.body["status"] == "succeeded").then_some(())
    })
    .await;
    assert_eq!(outside.hits("/act"), 1, "an unsafe call was repeated");
    check_journal(&fleet, &run).await;
}
