//! Every route with bad credentials, and what one schema's logins may not do.

use std::collections::BTreeMap;

use serde_json::json;
use shared_models::Service;
use testkit::{Api, Walk};

use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_who_may_not_use_it() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({})).await.expect(202);
    let new = json!({ "system": "webhook", "agent_id": world.agent });
    let walk = Walk {
        openapi: world.openapi.clone(),
        api: Api::router(world.router.clone()),
        service: Service::Eventsvc,
        owner: world.owner.clone(),
        params: BTreeMap::from([
            ("agent_id", world.agent.to_string()),
            ("trigger_id", hook.to_string()),
            ("hook_id", hook.to_string()),
            ("delivery_id", accepted["delivery_id"].as_str().unwrap().to_owned()),
            ("consumer", "eventsvc_run_lifecycle".to_owned()),
            ("message_id", shared_models::MessageId::mint().to_string()),
        ]),
        bodies: BTreeMap::from([
            ("POST /agent/{agent_id}/trigger", json!({ "system": "webhook" })),
            ("POST /v1/triggers", new),
            ("POST /v1/triggers/{trigger_id}/test", json!({ "payload": {} })),
            ("POST /v1/triggers/{trigger_id}/rotate-secret", json!({})),
            ("POST /v1/deliveries/replay", json!({})),
            ("PUT /v1/triggers/systems", json!({ "system": "webhook", "paused": false })),
            ("POST /v1/triggers/preview", json!({ "options": { "interval_seconds": 60 } })),
        ]),
        open: &["POST /v1/hooks/{hook_id}"],
        shared: BTreeMap::new(),
    };

    walk.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_forgets_the_tenant_sees_nothing() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    world.send(hook, &json!({})).await.expect(202);
    world.trigger(json!({ "system": "timer", "options": { "interval_seconds": 60 } })).await;
    let stranger = shared_models::TenantId::mint();

    for table in [
        "source",
        "trigger",
        "timer",
        "delivery",
        "firing",
        "delivery_step",
        "outbox",
        "trigger_flow",
        "system_pause",
        "source_lease",
        "source_cursor",
    ] {
        let mut tx = world.app.db().begin(stranger).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("select count(*) from eventsvc.{table}"));
        let seen: i64 = sqlx::query_scalar(sql).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(seen, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_that_is_written_down_is_the_one_that_is_served() {
    let world = World::start().await;

    let written = serde_json::to_value(eventsvc::openapi()).unwrap();

    assert_eq!(written, world.openapi);
}
