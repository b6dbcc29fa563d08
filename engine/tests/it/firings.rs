//! Fired triggers become runs.

use serde_json::{Value, json};
use shared_models::events::trigger::{Target, TargetKind, TriggerFired};
use shared_models::{AgentId, DeliveryId, EventId, Service, TriggerId};
use testkit::{Person, eventually};

use crate::harness::TestApp;
use crate::scene;

pub(crate) fn fired(owner: &Person, agent: &str, payload: Option<Value>) -> TriggerFired {
    let agent: AgentId = agent.parse().unwrap();
    let now = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
    TriggerFired {
        trigger_id: TriggerId::mint(),
        tenant_id: owner.tenant,
        agent_id: Some(agent),
        system: "webhook".into(),
        timestamp: now,
        payload_in: payload.is_none().then(DeliveryId::mint),
        payload,
        event_id: EventId::mint(),
        target: Target { kind: TargetKind::Agent, id: Some(agent.uuid()) },
        dedupe_key: None,
        delivery_id: DeliveryId::mint(),
        occurred_at: now,
        received_at: now,
        attempt: 1,
        owner: owner.user,
    }
}

/// Publishes a firing as `eventsvc` does, under the message id of its event and attempt.
pub(crate) async fn publish(app: &TestApp, event: &TriggerFired) {
    let bus = app.nats.bus(Service::Eventsvc).await;
    let row = pubsub::OutboxRow::new(
        event.tenant_id,
        (event.event_id.uuid(), event.attempt),
        event.timestamp,
        event,
    )
    .unwrap();
    let ack = bus.jetstream().publish(row.subject, row.envelope.into()).await.unwrap();
    ack.await.unwrap();
}

async fn runs_of(api: &testkit::Api) -> Vec<Value> {
    api.get("/v1/runs").await.expect(200)["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_firing_at_a_swarm_becomes_exactly_one_run_of_it_or_is_refused_with_why() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let swarm = json!({ "name": "s", "members": [crate::swarms::member(&agent, "a")] });
    let swarm = crate::swarms::swarm(&api, &swarm).await;
    let id: shared_models::SwarmId = swarm.parse().unwrap();
    let at_swarm = || TriggerFired {
        agent_id: None,
        target: Target { kind: TargetKind::Swarm, id: Some(id.uuid()) },
        ..fired(&owner, &agent, Some(json!({ "ticket": 7 })))
    };
    let event = at_swarm();

    publish(&app, &event).await;
    publish(&app, &event).await;
    let ended = eventually("the run", async || {
        let runs = runs_of(&api).await;
        (runs.len() == 1 && runs[0]["status"] == "succeeded").then(|| runs[0].clone())
    })
    .await;
    assert_eq!((&ended["swarm_id"], &ended["swarm_name"]), (&json!(swarm), &json!("s")));
    assert!(ended["output"].as_str().unwrap().contains("\"ticket\": 7"), "{ended}");

    api.delete(&format!("/v1/agents/{agent}")).await;
    publish(&app, &at_swarm()).await;
    let refused = eventually("the refusal", async || {
        sqlx::query_scalar::<_, String>(
            "select envelope -> 'data' ->> 'reason' from engine.outbox where subject like '%run.refused%'",
        )
        .fetch_optional(&mut app.db.admin().await)
        .await
        .unwrap()
    })
    .await;
    assert_eq!(refused, "the swarm cannot run: its member `a` is gone");
    assert_eq!(runs_of(&api).await.len(), 1);
}

#[tokio::test]
async fn a_firing_becomes_exactly_one_run_however_often_it_is_delivered() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let event = fired(&owner, &agent, Some(json!({ "ticket": 7 })));

    publish(&app, &event).await;
    publish(&app, &event).await;
    let replay = TriggerFired { attempt: 2, ..event.clone() };
    publish(&app, &replay).await;

    let runs = eventually("both runs to end", async || {
        let runs = runs_of(&api).await;
        (runs.len() >= 2 && runs.iter().all(|run| run["status"] == "succeeded")).then_some(runs)
    })
    .await;
    let mut attempts: Vec<i64> = runs.iter().map(|run| run["attempt"].as_i64().unwrap()).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2]);
    assert_eq!(runs[0]["event_id"], json!(event.event_id));
    assert_eq!(
        runs[0]["output"],
        "Event from webhook at 2026-05-28T20:26:40.000Z:\n{\n  \"ticket\": 7\n}"
    );
}

#[tokio::test]
async fn a_payload_too_large_to_travel_is_fetched() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;

    publish(&app, &fired(&owner, &agent, None)).await;

    let run = eventually("the run to end", async || {
        runs_of(&api).await.into_iter().find(|run| run["status"] == "succeeded")
    })
    .await;
    assert!(run["output"].as_str().unwrap().contains("\"large\": true"), "{run}");
}

#[tokio::test]
async fn a_firing_for_an_agent_that_does_not_run_is_refused_and_says_why() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let paused = json!({ "name": "a", "model": "sim:echo", "status": "paused" });
    let agent = scene::agent(&api, &paused).await;

    publish(&app, &fired(&owner, &agent, Some(json!({})))).await;
    publish(&app, &fired(&owner, &AgentId::mint().to_string(), Some(json!({})))).await;
    let keyless = json!({ "name": "b", "model": "openai:gpt-4o" });
    let keyless = scene::agent(&api, &keyless).await;
    publish(&app, &fired(&owner, &keyless, Some(json!({})))).await;

    let mut reasons = eventually("the refusals", async || {
        let mut admin = app.db.admin().await;
        let reasons: Vec<String> = sqlx::query_scalar(
            "select envelope -> 'data' ->> 'reason' from engine.outbox where envelope ->> 'type' = 'run.refused'",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        (reasons.len() == 3).then_some(reasons)
    })
    .await;
    reasons.sort();
    assert!(reasons[0].contains("OPENAI_API_KEY"), "{reasons:?}");
    assert_eq!(reasons[1..], ["the agent is paused", "there is no such agent"]);
    assert!(runs_of(&api).await.is_empty());
}

#[tokio::test]
async fn a_firing_that_was_set_aside_is_listed_and_becomes_a_run_when_an_administrator_replays_it()
{
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let event = fired(&owner, &agent, Some(json!({})));
    let row = pubsub::OutboxRow::new(
        event.tenant_id,
        (event.event_id.uuid(), event.attempt),
        event.timestamp,
        &event,
    )
    .unwrap();
    sqlx::query(
        "insert into engine.parked (consumer, message_id, tenant_id, subject, envelope, reason, deliveries)
         values ($1, $2, $3, $4, $5::jsonb, 'broken', 6)",
    )
    .bind(pubsub::topology::ENGINE_TRIGGER_FIRED.durable)
    .bind(row.message_id.uuid())
    .bind(owner.tenant.uuid())
    .bind(&row.subject)
    .bind(&row.envelope)
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();

    let listed = api.get("/v1/runs/parked").await.expect(200);
    let parked = &listed["items"][0];
    assert_eq!((&parked["type"], &parked["reason"]), (&json!("trigger.fired"), &json!("broken")));
    let (consumer, id) = (parked["consumer"].as_str().unwrap(), row.message_id);
    let path = format!("/v1/runs/parked/{consumer}/{id}/replay");
    let member = app.person(&owner.colleague(shared_models::Role::Member));
    assert_eq!(member.get("/v1/runs/parked").await.refusal(), (403, "scope_missing"));
    assert_eq!(member.post(&path, &json!({})).await.refusal(), (403, "scope_missing"));
    let foreign = app.person(&app.trust.owner());
    assert_eq!(foreign.post(&path, &json!({})).await.status, 404);

    assert_eq!(api.post(&path, &json!({})).await.status, 202);

    eventually("the run", async || (runs_of(&api).await.len() == 1).then_some(())).await;
    eventually("the empty list", async || {
        let left = api.get("/v1/runs/parked").await.expect(200);
        (left["items"] == json!([])).then_some(())
    })
    .await;
}
