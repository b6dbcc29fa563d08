//! Members of a swarm that meet a credential which somebody has to connect again, while others work on.

use serde_json::{Value, json};
use shared_models::CredentialId;
use shared_models::events::credential::CredentialHealthChanged;
use sqlx::Row as _;
use testkit::{Stub, eventually};

use crate::harness::TestApp;
use crate::reconnect::{LOCAL, QUIET, Scene, on_a_broken_model, waits};
use crate::{scene, swarm_runs, swarms};

/// A run of these members beside one that is at work for longer than the test.
async fn beside(scene: &Scene, members: &[(&str, &str)]) -> String {
    let busy = json!([{ "text": "never said", "delay_ms": 600_000 }]);
    let busy = swarm_runs::scripted(&scene.api, "busy", busy).await;
    let names: Vec<&str> = members.iter().map(|(_, name)| *name).chain(["busy"]).collect();
    let mut all: Vec<Value> =
        members.iter().map(|(agent, name)| swarms::member(agent, name)).collect();
    all.push(busy);
    let swarm = json!({ "name": "s", "flow": format!("({})", names.join(" | ")), "members": all });
    let run = swarm_runs::start(&scene.api, &swarms::swarm(&scene.api, &swarm).await).await;
    swarm_runs::until_at(&scene.app, &run, "busy", "model_called").await;
    run
}

/// The run, once it says which credential some of its members wait for, while it is at work.
async fn held_up(scene: &Scene, run: &str) -> Value {
    eventually("members to wait", async || {
        let seen = scene::get(&scene.api, run).await;
        (seen["waits_for"][0]["credential_id"] == json!(scene.credential)).then_some(seen)
    })
    .await
}

async fn replies(app: &TestApp, run: &str, path: &str) -> usize {
    let at = |(place, kind): &(String, String)| place == path && kind == "model_replied";
    swarm_runs::paths(app, run).await.iter().filter(|record| at(record)).count()
}

/// The member has had its say about what its tool answered, and the others are still at work.
async fn went_on(scene: &Scene, run: &str, path: &str) {
    eventually(&format!("{path} to go on"), async || {
        (replies(&scene.app, run, path).await == 2).then_some(())
    })
    .await;
    assert_eq!(scene::get(&scene.api, run).await["status"], "running");
    assert_eq!(replies(&scene.app, run, "busy").await, 0);
}

async fn end(scene: &Scene, run: &str) {
    scene.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    scene::until(&scene.api, run, "cancelled").await;
}

#[tokio::test]
async fn members_go_on_as_soon_as_their_connection_is_back_while_others_work() {
    let scene = Scene::with(&[LOCAL, QUIET]).await;
    scene.app.peers.break_connection(scene.credential);
    let run = beside(&scene, &[(&scene.agent, "a"), (&scene.agent, "b")]).await;
    let seen = held_up(&scene, &run).await;
    assert_eq!((&seen["status"], &seen["wait_reason"]), (&json!("running"), &Value::Null));
    // Another credential is none of theirs.
    let other =
        CredentialHealthChanged { credential_id: CredentialId::mint(), ..scene.health("ok") };
    scene.tell(&other).await;
    assert_eq!(scene.outside.hits("/act"), 0);

    scene.app.peers.connect(scene.credential);
    scene.tell(&scene.health("ok")).await;

    went_on(&scene, &run, "a").await;
    went_on(&scene, &run, "b").await;
    assert_eq!(scene.outside.hits("/act"), 2);
    let rows = sqlx::query(
        "select path, kind from engine.journal
         where run_id = $1::uuid and kind in ('tool_intended', 'tool_repeated', 'waiting') order by path, seq",
    )
    .bind(scene::bare(&run))
    .fetch_all(&mut scene.app.db.admin().await)
    .await
    .unwrap();
    let rows: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let times = |kind: &str, path: &str| {
        rows.iter().filter(|(at, what)| at == path && what == kind).count()
    };
    assert_eq!((times("tool_intended", "a"), times("tool_intended", "b")), (1, 1), "{rows:?}");
    let again = times("tool_repeated", "a") + times("tool_repeated", "b");
    assert!((1..=2).contains(&again), "what was held up is the same call, made again: {rows:?}");
    assert_eq!(times("waiting", ""), 0);
    eventually("nothing to be waited for", async || (waits(&scene.app).await == 0).then_some(()))
        .await;
    assert_eq!(scene::get(&scene.api, &run).await["waits_for"], Value::Null);
    end(&scene, &run).await;
}

#[tokio::test]
async fn what_is_connected_again_before_it_is_written_down_is_not_missed_beside_others() {
    let scene = Scene::with(&[LOCAL, QUIET]).await;
    // Broken for one question only: nobody tells of it afterwards.
    scene.app.peers.break_once(scene.credential);

    let run = beside(&scene, &[(&scene.agent, "a")]).await;

    went_on(&scene, &run, "a").await;
    assert_eq!(scene.outside.hits("/act"), 1);
    end(&scene, &run).await;
}

#[tokio::test]
async fn a_member_whose_news_was_lost_is_found_by_the_sweep_while_others_work() {
    let scene = Scene::with(&[LOCAL, ("SWITCHYARD_SWEEP_MS", "5")]).await;
    scene.app.peers.break_connection(scene.credential);
    let run = beside(&scene, &[(&scene.agent, "a")]).await;
    held_up(&scene, &run).await;

    scene.app.peers.connect(scene.credential);

    went_on(&scene, &run, "a").await;
    end(&scene, &run).await;
}

#[tokio::test]
async fn a_connection_that_breaks_again_is_waited_for_again_beside_others() {
    let scene = Scene::with(&[LOCAL, QUIET]).await;
    scene.app.peers.break_connection(scene.credential);
    let run = beside(&scene, &[(&scene.agent, "a")]).await;
    held_up(&scene, &run).await;
    let asked = || {
        let path = format!("/internal/credentials/{}/resolve", scene.credential);
        scene.app.peers.requests(&path).len()
    };
    let before = asked();

    // Told so although it is not: the member asks, and waits again.
    scene.tell(&scene.health("ok")).await;
    eventually("it to be asked for again", async || (asked() > before).then_some(())).await;
    held_up(&scene, &run).await;
    assert_eq!(scene.outside.hits("/act"), 0);
    scene.app.peers.connect(scene.credential);
    scene.tell(&scene.health("ok")).await;

    went_on(&scene, &run, "a").await;
    assert_eq!(scene.outside.hits("/act"), 1);
    end(&scene, &run).await;
}

#[tokio::test]
async fn a_member_asks_its_model_as_soon_as_the_models_connection_is_back_while_others_work() {
    let (scene, server, agent): (Scene, Stub, String) = on_a_broken_model(None).await;
    scene.app.peers.set(scene.credential, json!({ "api_key": "k" }));
    let run = beside(&scene, &[(&agent, "m")]).await;
    held_up(&scene, &run).await;
    assert!(server.requests().is_empty());

    scene.app.peers.connect(scene.credential);
    scene.tell(&scene.health("ok")).await;

    swarm_runs::until_at(&scene.app, &run, "m", "model_replied").await;
    assert_eq!(server.requests().len(), 1);
    assert_eq!(scene::get(&scene.api, &run).await["status"], "running");
    end(&scene, &run).await;
}
