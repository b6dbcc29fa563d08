//! When a delivery has failed, of which several triggers make several runs.

use serde_json::{Value, json};
use shared_models::{
    RunStatus, Usage,
    events::{run::RunFinished, trigger::TriggerFired},
};
use testkit::{Api, eventually};

use crate::harness::{World, run_of};

fn failed(fired: &TriggerFired) -> RunFinished {
    RunFinished {
        run: run_of(fired),
        status: RunStatus::Failed,
        error: None,
        error_code: Some("model_rejected".into()),
        usage: Usage::default(),
        cost: None,
    }
}

/// A hook with two triggers.
async fn two_at_one_hook(world: &World, more: &Value) -> String {
    let credential = world.credential(json!({ "secret": "key" }));
    let body =
        json!({ "credential_id": credential, "options": { "verify": { "scheme": "bearer" } } });
    let mut other = body.clone();
    other.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (hook, _) = world.trigger(body).await;
    world.trigger(other).await;
    format!("/v1/hooks/{hook}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_has_failed_when_two_hear_at_the_same_time_of_the_last_of_its_runs() {
    let world = World::start().await;
    let hook = two_at_one_hook(&world, &json!({})).await;
    let accepted = Api::router(world.router.clone()).token("key").post(&hook, &json!({})).await;
    let accepted = accepted.expect(202);
    let engine = world.engine().await;
    let fired = engine.take(2).await;

    // Another replica has written down that one of them failed, and not committed yet.
    let mut elsewhere = world.db.admin().await;
    sqlx::raw_sql("begin; select from eventsvc.delivery for no key update")
        .execute(&mut elsewhere)
        .await
        .unwrap();
    sqlx::query(
        "update eventsvc.firing set status = 'failed', run_status = 'failed' where event_id = $1",
    )
    .bind(fired[0].data.event_id.uuid())
    .execute(&mut elsewhere)
    .await
    .unwrap();
    engine.tell(world.owner.tenant, &failed(&fired[1].data)).await;
    eventually("ours to wait for it", async || {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        (world.count(waiting).await > 0).then_some(())
    })
    .await;
    sqlx::raw_sql("commit").execute(&mut elsewhere).await.unwrap();

    eventually("it to have failed", async || {
        (world.delivery(&accepted).await["status"] == "failed").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_has_not_failed_while_one_of_its_triggers_waits_for_its_turn() {
    let world = World::start().await;
    let slow = json!({ "flow": { "debounce_seconds": 3600 } });
    let hook = two_at_one_hook(&world, &slow).await;
    let accepted = Api::router(world.router.clone()).token("key").post(&hook, &json!({})).await;
    let accepted = accepted.expect(202);
    let engine = world.engine().await;
    let fired = engine.take(1).await.remove(0).data;

    engine.tell(world.owner.tenant, &failed(&fired)).await;

    let delivery = eventually("its run to have failed", async || {
        let delivery = world.delivery(&accepted).await;
        let firings = delivery["firings"].as_array().unwrap();
        firings.iter().any(|firing| firing["status"] == "failed").then(|| delivery.clone())
    })
    .await;
    assert_ne!(delivery["status"], "failed");
}
