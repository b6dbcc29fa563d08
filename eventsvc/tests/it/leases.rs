//! Signing secrets are kept for as long as their lease, and no longer.

use pubsub::OutboxRow;
use serde_json::json;
use shared_models::{MessageId, Service, events::credential::CredentialHealthChanged};
use testkit::{Api, eventually};

use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_taken_back_lets_no_further_delivery_in() {
    let world = World::start().await;
    let credential = world.credential(json!({ "token": "t0ken" }));
    let options = json!({ "verify": { "scheme": "bearer" } });
    let (hook, _) = world.trigger(json!({ "options": options, "credential_id": credential })).await;
    let send = async || {
        let api = Api::router(world.router.clone()).token("t0ken");
        api.post(&format!("/v1/hooks/{hook}"), &json!({})).await.status
    };
    let path = format!("/internal/credentials/{credential}/resolve");
    assert_eq!(send().await, 202);
    let asked = world.credsvc.hits(&path);

    // It is refused from now on; who holds a lease has not heard of that yet.
    world.vault.lock().unwrap().grants.clear();
    assert_eq!((send().await, world.credsvc.hits(&path)), (202, asked), "the lease is not kept");
    let event = CredentialHealthChanged {
        credential_id: credential.parse().unwrap(),
        user_id: None,
        health: "revoked".into(),
        reason: None,
    };
    let at = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
    let row =
        OutboxRow::new(world.owner.tenant, (MessageId::mint().uuid(), 0), at, &event).unwrap();
    let bus = world.nats.bus(Service::Credsvc).await;
    bus.jetstream().publish(row.subject, row.envelope.into()).await.unwrap().await.unwrap();

    eventually("deliveries to be refused", async || (send().await == 503).then_some(())).await;
    assert_eq!(send().await, 503);
}
