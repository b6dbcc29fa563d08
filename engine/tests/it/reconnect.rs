//! Runs that meet a credential which somebody has to connect again.

use pubsub::OutboxRow;
use serde_json::{Value, json};
use shared_models::events::Event;
use shared_models::events::credential::{CredentialDeleted, CredentialHealthChanged};
use shared_models::{CredentialId, MessageId, Service};
use testkit::{Answer, Api, Person, Stub, eventually};

use crate::harness::TestApp;
use crate::{pausing, scene, swarm_runs, swarms};

/// Nothing looks by itself within a test: what goes on was told to.
pub(crate) const QUIET: (&str, &str) = ("SWITCHYARD_SWEEP_MS", "60000");
pub(crate) const LOCAL: (&str, &str) = ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1");

/// An agent with a tool that sends a credential to a server that counts.
pub(crate) struct Scene {
    pub(crate) app: TestApp,
    owner: Person,
    pub(crate) api: Api,
    pub(crate) outside: Stub,
    pub(crate) credential: CredentialId,
    pub(crate) agent: String,
}

impl Scene {
    pub(crate) async fn with(vars: &[(&str, &str)]) -> Self {
        let outside = Stub::start(|_| Answer::Json(200, json!({ "did": "it" }))).await;
        let app = TestApp::start_with(vars).await;
        let owner = app.trust.owner();
        let api = app.person(&owner);
        let credential = app.peers.credential(json!({ "access_token": "t0ken" }));
        let agent = scene::scripted(&api, "a", &scene::calls(&["act"])).await;
        give(&api, &agent, &outside, credential).await;
        Self { app, owner, api, outside, credential, agent }
    }

    /// A run that waits for the credential.
    async fn waiting(&self) -> String {
        self.app.peers.break_connection(self.credential);
        let run = scene::start(&self.api, &self.agent).await;
        let seen = scene::until(&self.api, &run, "waiting").await;
        assert_eq!(seen["wait_reason"], "auth", "{seen}");
        let waits_for = &seen["waits_for"][0];
        assert_eq!(waits_for["credential_id"], json!(self.credential));
        let reason = waits_for["reason"].as_str().unwrap();
        assert!(reason.contains("connected again"), "{reason}");
        run
    }

    /// As credsvc tells of it.
    pub(crate) async fn tell<E: Event>(&self, event: &E) {
        let bus = self.app.nats.bus(Service::Credsvc).await;
        let at = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let id = (MessageId::mint().uuid(), 0);
        let row = OutboxRow::new(self.owner.tenant, id, at, event).unwrap();
        let ack = bus.jetstream().publish(row.subject, row.envelope.into()).await.unwrap();
        ack.await.unwrap();
    }

    pub(crate) fn health(&self, health: &str) -> CredentialHealthChanged {
        CredentialHealthChanged {
            credential_id: self.credential,
            user_id: Some(self.owner.user),
            health: health.into(),
            reason: None,
        }
    }
}

async fn give(api: &Api, agent: &str, outside: &Stub, credential: CredentialId) {
    let fields = json!({ "name": "act", "kind": "http", "effect": "unsafe", "timeout_ms": 2000,
        "parameters": { "type": "object", "properties": { "n": {} } },
        "config": { "method": "POST", "url": format!("{}/act", outside.url()),
            "credential": { "in": "bearer" } } });
    let made = api.post("/v1/tools", &fields).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({ "credential_id": credential })).await.expect(200);
}

pub(crate) async fn waits(app: &TestApp) -> i64 {
    let mut admin = app.db.admin().await;
    sqlx::query_scalar("select count(*) from engine.auth_wait").fetch_one(&mut admin).await.unwrap()
}

#[tokio::test]
async fn a_run_waits_for_a_broken_connection_and_goes_on_when_it_is_connected_again() {
    let scene = Scene::with(&[LOCAL, QUIET]).await;
    let run = scene.waiting().await;
    assert_eq!(scene.outside.hits("/act"), 0);

    // News of another kind, and of another credential, wake nobody.
    scene.tell(&scene.health("needs_reconnect")).await;
    let other =
        CredentialHealthChanged { credential_id: CredentialId::mint(), ..scene.health("ok") };
    scene.tell(&other).await;
    scene.app.peers.connect(scene.credential);
    scene.tell(&scene.health("ok")).await;

    let ended = scene::until(&scene.api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: {\"did\":\"it\"}");
    assert_eq!(ended["waits_for"], Value::Null);
    assert_eq!(scene.outside.hits("/act"), 1);
    assert_eq!(scene.outside.requests()[0].header("authorization"), "Bearer t0ken");
    assert_eq!(waits(&scene.app).await, 0);
    let kinds = scene::kinds(&scene.app.db, &run).await;
    let waited = kinds.iter().filter(|kind| *kind == "waiting").count();
    assert_eq!(waited, 1, "{kinds:?}");
    let mut admin = scene.app.db.admin().await;
    let shown: String = sqlx::query_scalar(
        "select data -> 'needs' -> 0 ->> 'credential_id' from engine.journal where kind = 'waiting'",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(shown, scene.credential.to_string());
}

#[tokio::test]
async fn a_run_whose_news_was_lost_is_found_by_the_sweep() {
    let scene = Scene::with(&[LOCAL, ("SWITCHYARD_SWEEP_MS", "5")]).await;
    let run = scene.waiting().await;

    scene.app.peers.connect(scene.credential);

    scene::until(&scene.api, &run, "succeeded").await;
    assert_eq!(scene.outside.hits("/act"), 1);
}

#[tokio::test]
async fn what_is_connected_again_while_a_run_is_put_to_rest_is_not_missed() {
    let scene = Scene::with(&[LOCAL, QUIET]).await;
    // Broken for one question only: nobody tells of it afterwards.
    scene.app.peers.break_once(scene.credential);

    let run = scene::start(&scene.api, &scene.agent).await;

    scene::until(&scene.api, &run, "succeeded").await;
    assert_eq!(scene.outside.hits("/act"), 1);
    let kinds = scene::kinds(&scene.app.db, &run).await;
    assert!(kinds.contains(&"waiting".to_owned()), "{kinds:?}");
}

#[tokio::test]
async fn a_credential_that_is_deleted_is_waited_for_no_longer() {
    let scene = Scene::with(&[LOCAL, QUIET]).await;
    let run = scene.waiting().await;

    scene.app.peers.connect(scene.credential);
    scene.app.peers.forget(scene.credential);
    let (credential_id, user_id) = (scene.credential, None);
    scene.tell(&CredentialDeleted { credential_id, user_id, version: 1 }).await;

    let ended = scene::until(&scene.api, &run, "succeeded").await;
    assert!(ended["output"].as_str().unwrap().contains("no such credential"), "{ended}");
    assert_eq!(scene.outside.hits("/act"), 0);
}

#[tokio::test]
async fn a_run_that_waits_for_a_connection_can_be_cancelled_and_nothing_was_sent() {
    let scene = Scene::with(&[LOCAL, ("SWITCHYARD_SWEEP_MS", "5")]).await;
    let run = scene.waiting().await;

    scene.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    let ended = scene::until(&scene.api, &run, "cancelled").await;

    assert_eq!((&ended["in_doubt"], &ended["waits_for"]), (&Value::Null, &Value::Null));
    assert_eq!(scene.outside.hits("/act"), 0);
    eventually("its wait to be forgotten", async || (waits(&scene.app).await == 0).then_some(()))
        .await;
}

fn completion(text: &str) -> Answer {
    let choice = json!({ "index": 0, "finish_reason": "stop",
        "message": { "role": "assistant", "content": text } });
    Answer::Json(
        200,
        json!({ "choices": [choice], "usage": { "prompt_tokens": 1, "completion_tokens": 1 } }),
    )
}

/// A model of the tenant's whose credential is broken, and an agent on it.
pub(crate) async fn on_a_broken_model(fallback: Option<&str>) -> (Scene, Stub, String) {
    let server = Stub::start(|_| completion("from the house")).await;
    let scene = Scene::with(&[LOCAL, QUIET]).await;
    let model = json!({ "name": "house:fast", "provider_model": "m", "kind": "internal",
        "credential_id": scene.credential, "base_url": format!("{}/v1", server.url()) });
    scene.api.post("/v1/model-settings", &model).await.expect(201);
    let agent = json!({ "name": "m", "model": "house:fast", "fallback_model": fallback });
    let agent = scene::agent(&scene.api, &agent).await;
    scene.app.peers.break_connection(scene.credential);
    (scene, server, agent)
}

#[tokio::test]
async fn a_run_waits_for_its_models_connection_and_goes_on_when_it_is_connected_again() {
    let (scene, server, agent) = on_a_broken_model(None).await;
    scene.app.peers.set(scene.credential, json!({ "api_key": "k" }));

    let run = scene::start(&scene.api, &agent).await;
    let seen = scene::until(&scene.api, &run, "waiting").await;
    assert_eq!(seen["wait_reason"], "auth");
    assert_eq!(seen["waits_for"][0]["credential_id"], json!(scene.credential));
    scene.app.peers.connect(scene.credential);
    scene.tell(&scene.health("ok")).await;

    let ended = scene::until(&scene.api, &run, "succeeded").await;
    assert_eq!(ended["output"], "from the house");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_fallback_answers_for_a_model_that_cannot_be_asked() {
    let (scene, server, agent) = on_a_broken_model(Some("sim:echo")).await;

    let run = scene::start(&scene.api, &agent).await;

    scene::until(&scene.api, &run, "succeeded").await;
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_member_of_a_swarm_waits_for_a_connection_and_the_swarm_goes_on_with_it() {
    let scene = Scene::with(&[LOCAL, QUIET]).await;
    let swarm = json!({ "name": "s", "members": [swarms::member(&scene.agent, "a")] });
    let swarm = swarms::swarm(&scene.api, &swarm).await;
    scene.app.peers.break_connection(scene.credential);

    let made = json!({ "swarm_id": swarm, "input": "go" });
    let made = scene.api.post("/v1/runs", &made).await.expect(201);
    let run = made["run_id"].as_str().unwrap().to_owned();
    let seen = scene::until(&scene.api, &run, "waiting").await;
    assert_eq!(seen["wait_reason"], "auth");
    scene.app.peers.connect(scene.credential);
    scene.tell(&scene.health("ok")).await;

    scene::until(&scene.api, &run, "succeeded").await;
    assert_eq!(scene.outside.hits("/act"), 1);
}

#[tokio::test]
async fn what_a_dead_owner_of_a_swarms_run_wrote_down_is_taken_away_by_the_next_one() {
    let app = TestApp::start_with(&[QUIET]).await;
    let api = app.person(&app.trust.owner());
    let asking = pausing::asking(&api, "a").await;
    let swarm = json!({ "name": "s", "flow": "a", "members": [swarms::member(&asking, "a")] });
    let run = swarm_runs::start(&api, &swarms::swarm(&api, &swarm).await).await;
    scene::until(&api, &run, "waiting").await;
    // As if it had been at work beside a member that waited for a credential.
    let row = "insert into engine.auth_wait (tenant_id, run_id, credential_id, reason)
               select tenant_id, run_id, gen_random_uuid(), 'x' from engine.run";
    sqlx::raw_sql(row).execute(&mut app.db.admin().await).await.unwrap();

    pausing::pause(&api, &run).await;
    scene::until(&api, &run, "paused").await;
    pausing::resume(&api, &run).await;

    let rested = scene::until(&api, &run, "waiting").await;
    assert_eq!((&rested["wait_reason"], &rested["waits_for"]), (&json!("input"), &Value::Null));
    assert_eq!(waits(&app).await, 0);
}
