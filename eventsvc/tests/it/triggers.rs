//! Making, reading, listing and deleting triggers; who sees them.

use serde_json::{Value, json};
use shared_models::{AgentId, CredentialId, Role};
use testkit::{Trust, eventually};

use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_trigger_answers_its_hook_and_its_secret_once() {
    let world = World::start().await;
    let path = format!("/agent/{}/trigger", world.agent);
    let api = world.mine().header("idempotency-key", "k1");
    let body = json!({ "system": "webhook", "name": "Pushes" });

    let made = api.post(&path, &body).await.expect(201);

    let id = made["id"].as_str().unwrap();
    assert!(made["signing_secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(made["hook_url"], format!("/v1/hooks/{id}"));
    assert_eq!(made["agent_id"], json!(world.agent));
    assert_eq!(made["owner"], json!(world.owner.user));
    assert_eq!(made["options"]["verify"]["scheme"], "standard_webhooks");
    assert_eq!(made["status"]["state"], "listening");
    let again = api.post(&path, &body).await;
    assert_eq!((again.status, &again.body["id"]), (201, &made["id"]));
    assert_eq!(again.body["signing_secret"], Value::Null, "a secret is not stored to be repeated");
    let read = world.mine().get(&format!("/triggers/{id}")).await;
    assert_eq!(read.header("etag"), Some("\"1\""));
    assert_eq!(read.body["signing_secret"], Value::Null);
    assert_eq!(world.mine().get(&format!("/v1/triggers/{id}")).await.expect(200), read.body);
    let dump = world.db.dump().await;
    assert!(!dump.contains(made["signing_secret"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_with_every_field_named() {
    let world = World::start().await;
    let agent = world.agent;
    let refused = async |body: Value| {
        let reply = world.mine().post("/v1/triggers", &body).await;
        assert_eq!(reply.refusal(), (422, "validation_failed"), "{body}");
        let errors = reply.body["errors"].as_array().unwrap().clone();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    assert_eq!(
        refused(json!({ "system": "carrier_pigeon", "agent_id": agent })).await,
        ["/system"]
    );
    assert_eq!(refused(json!({ "system": "webhook" })).await, ["/agent_id"]);
    assert_eq!(
        refused(json!({ "system": "webhook", "agent_id": agent, "speed": 1 })).await,
        ["/speed"]
    );
    assert_eq!(
        refused(json!({ "system": "webhook", "agent_id": agent, "filter": "payload.", "name": "",
            "options": { "max_body_bytes": 0, "verify": { "scheme": "hmac" } } }))
        .await,
        ["/name", "/filter", "/options/max_body_bytes", "/options/verify/header"]
    );
    for (kind, pointer) in [("swarm", "/target/id"), ("workflow", "/target/kind")] {
        let target = json!({ "kind": kind });
        assert_eq!(refused(json!({ "system": "webhook", "target": target })).await, [pointer]);
    }
    assert_eq!(
        refused(json!({ "system": "webhook", "agent_id": AgentId::mint() })).await,
        ["/agent_id"]
    );
    let basic = json!({ "verify": { "scheme": "basic" } });
    assert_eq!(
        refused(json!({ "system": "webhook", "agent_id": agent, "options": basic })).await,
        ["/credential_id"]
    );
    let path = format!("/agent/{}/trigger", AgentId::mint());
    let unseen = world.mine().post(&path, &json!({ "system": "webhook" })).await;
    assert_eq!(unseen.refusal(), (404, "not_found"));
    assert_eq!(world.count("select count(*) from eventsvc.trigger").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_must_be_usable_and_hold_what_the_scheme_needs() {
    let world = World::start().await;
    let empty = CredentialId::mint();
    world.vault.lock().unwrap().credentials.insert(empty.to_string(), json!({ "other": "x" }));
    let make = async |credential: CredentialId| {
        let body =
            json!({ "system": "webhook", "agent_id": world.agent, "credential_id": credential });
        world.mine().post("/v1/triggers", &body).await
    };

    assert_eq!(make(CredentialId::mint()).await.refusal(), (422, "credential_not_usable"));
    let missing = make(empty).await;
    assert_eq!(missing.body["errors"][0]["message"], "the credential has no field `secret`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_without_the_engine_or_the_vault_is_503() {
    let world = World::start().await;
    let body = json!({ "system": "webhook", "agent_id": world.agent });

    world.agents.lock().unwrap().down = true;
    assert_eq!(world.mine().post("/v1/triggers", &body).await.refusal(), (503, "unavailable"));
    world.agents.lock().unwrap().down = false;
    world.vault.lock().unwrap().down = true;
    assert_eq!(world.mine().post("/v1/triggers", &body).await.refusal(), (503, "unavailable"));
    world.vault.lock().unwrap().down = false;
    world.mine().post("/v1/triggers", &body).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_is_seen_by_its_owner_and_administrators_only() {
    let world = World::start().await;
    let member = world.owner.colleague(Role::Member);
    let agent = AgentId::mint();
    world.show_agent(agent, &member, "user");
    let body = json!({ "system": "webhook", "agent_id": agent });
    let made = world.api(&member).post("/v1/triggers", &body).await.expect(201);
    let path = format!("/triggers/{}", made["id"].as_str().unwrap());
    let other = world.owner.colleague(Role::Member);
    let stranger = Trust::new().owner();

    world.api(&member).get(&path).await.expect(200);
    world.mine().get(&path).await.expect(200);
    for (who, person) in [("a colleague", &other), ("another tenant", &stranger)] {
        let api = world.api(person);
        assert_eq!(api.get(&path).await.refusal(), (404, "not_found"), "{who}");
        assert_eq!(api.delete(&path).await.refusal(), (404, "not_found"), "{who}");
        assert_eq!(api.get("/v1/triggers").await.expect(200)["items"], json!([]), "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_sees_the_triggers_of_its_agents_and_only_the_owner_changes_them() {
    let world = World::start().await;
    let member = world.owner.colleague(Role::Member);
    let agent = AgentId::mint();
    world.show_agent(agent, &member, "team");
    let body = json!({ "system": "webhook", "agent_id": agent, "options": { "verify": { "scheme": "none" } } });
    let made = world.api(&member).post("/v1/triggers", &body).await.expect(201);
    let id = made["id"].as_str().unwrap();
    let mate = world.api(&member.teammate(Role::Member));
    let accepted = world.send(id, &json!({})).await.expect(202);

    assert_eq!(mate.get(&format!("/triggers/{id}")).await.expect(200)["scope"], "team");
    let path = format!("/v1/deliveries/{}", accepted["delivery_id"].as_str().unwrap());
    mate.get(&path).await.expect(200);
    let change = mate.patch(&format!("/v1/triggers/{id}"), &json!({ "active": false })).await;
    assert_eq!(change.refusal(), (403, "not_owner"));
    assert_eq!(mate.delete(&format!("/triggers/{id}")).await.refusal(), (403, "not_owner"));
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_are_listed_in_pages_and_narrowed() {
    let world = World::start().await;
    let other = AgentId::mint();
    world.show_agent(other, &world.owner, "user");
    for n in 0..5 {
        world.open_trigger(json!({ "name": format!("Nightly {n}") })).await;
    }
    world.open_trigger(json!({ "name": "Other", "agent_id": other, "active": false })).await;
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let list =
        async |query: &str| world.mine().get(&format!("/v1/triggers{query}")).await.expect(200);

    let first = list("?limit=4").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = list(&format!("?limit=4&cursor={cursor}")).await;

    assert_eq!(names(&first), ["Other", "Nightly 4", "Nightly 3", "Nightly 2"]);
    assert_eq!(
        (names(&second), &second["next_cursor"]),
        (vec!["Nightly 1".into(), "Nightly 0".into()], &Value::Null)
    );
    assert_eq!(names(&list(&format!("?agent_id={other}")).await), ["Other"]);
    assert_eq!(names(&list("?active=false").await), ["Other"]);
    assert_eq!(names(&list("?q=NIGHTLY%203").await), ["Nightly 3"]);
    assert_eq!(
        world.mine().get("/v1/triggers?cursor=x").await.refusal(),
        (422, "validation_failed")
    );
    assert_eq!(
        world.mine().get("/v1/triggers?colour=x").await.refusal(),
        (422, "validation_failed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_trigger_hears_nothing_and_gives_its_credential_back() {
    let world = World::start().await;
    let (id, secret) = world.trigger(json!({})).await;
    let accepted = world.deliver(id, &secret, "msg_1", "{}").await.expect(202);
    assert_eq!(world.vault.lock().unwrap().grants.len(), 1);

    let gone = world.mine().delete(&format!("/triggers/{id}")).await;

    assert_eq!(gone.status, 204);
    assert_eq!(world.mine().get(&format!("/triggers/{id}")).await.status, 404);
    assert_eq!(world.deliver(id, &secret, "msg_2", "{}").await.refusal(), (404, "not_found"));
    assert_eq!(world.delivery(&accepted).await["status"], "fired", "history stays");
    eventually("the grant to be taken back", async || {
        world.vault.lock().unwrap().grants.is_empty().then_some(())
    })
    .await;
}
