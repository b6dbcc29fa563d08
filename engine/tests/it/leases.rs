//! Secrets that webhooks are signed with are kept for as long as their lease, and no longer.

use pubsub::OutboxRow;
use serde_json::json;
use shared_models::events::credential::CredentialHealthChanged;
use shared_models::{MessageId, Service};
use testkit::{Answer, Stub, eventually};

use crate::harness::TestApp;
use crate::{scene, webhooks};

#[tokio::test]
async fn a_signing_secret_that_is_taken_back_signs_nothing_more() {
    let server = Stub::start(|_| Answer::Json(200, json!({}))).await;
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let endpoint = webhooks::endpoint(&api, &server.url(), &["run.finished"]).await;
    let list =
        format!("/v1/webhook-endpoints/{}/deliveries", endpoint["endpoint_id"].as_str().unwrap());
    let credential = app.peers.newest();
    let path = format!("/internal/credentials/{credential}/resolve");
    let asked = || app.peers.requests(&path).len();
    let run = async || {
        let run = json!({ "agent": "a", "input": "hi", "wait": 30 });
        api.post("/v1/runs", &run).await.expect(200)["run_id"].clone()
    };
    // From when the process hears of ends of leases on.
    eventually("the lease to be kept", async || {
        let before = asked();
        let run = run().await;
        eventually("the endpoint to be told", async || {
            let told = server.requests().into_iter();
            told.map(|request| request.json()).find(|told| told["data"]["run_id"] == run)
        })
        .await;
        (before > 0 && asked() == before).then_some(())
    })
    .await;

    let before = asked();
    app.peers.forget(credential);
    let health = "revoked".into();
    let event =
        CredentialHealthChanged { credential_id: credential, user_id: None, health, reason: None };
    let at = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
    let row = OutboxRow::new(owner.tenant, (MessageId::mint().uuid(), 0), at, &event).unwrap();
    let bus = app.nats.bus(Service::Credsvc).await;
    bus.jetstream().publish(row.subject, row.envelope.into()).await.unwrap().await.unwrap();

    eventually("the vault to be asked again", async || {
        run().await;
        (asked() > before).then_some(())
    })
    .await;
    let last = run().await;
    let seen = eventually("the last attempt", async || {
        let items = api.get(&list).await.expect(200)["items"].as_array().unwrap().clone();
        items.into_iter().find(|item| item["run_id"] == last && item["error"].is_string())
    })
    .await;
    assert_ne!(seen["status"], "delivered", "what nobody may sign is not sent");
    assert!(server.requests().iter().all(|request| request.json()["data"]["run_id"] != last));
}
