//! When a delivery has failed, of which several triggers make several runs.

use serde_json::{Value, json};
use shared_models::{
    RunStatus, Usage,
    events::{
        run::{RunFinished, RunStarted},
        trigger::TriggerFired,
    },
};
use testkit::{Api, eventually};

use crate::{
    harness::{World, run_of},
    leaving::waiting,
};

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

#[tokio::test(flavor = "multi_thread")]
async fn who_fires_a_delivery_again_while_a_failure_of_it_is_heard_need_not_fear_a_deadlock() {
    let world = World::start().await;
    let hook = two_at_one_hook(&world, &json!({})).await;
    let (sender, engine) = (Api::router(world.router.clone()).token("key"), world.engine().await);
    let send = async || {
        sender.post(&hook, &json!({})).await.expect(202);
        let mut fired = engine.take(2).await;
        fired.sort_by_key(|event| event.data.event_id);
        fired.into_iter().map(|event| event.data).collect::<Vec<_>>()
    };
    let (before, both) = (send().await, send().await);
    let (mut earlier, mut again) = (world.db.admin().await, world.db.admin().await);
    let hold = async |admin: &mut sqlx::PgConnection, fired: &TriggerFired, how: &'static str| {
        let id = fired.event_id.uuid();
        sqlx::query(how).bind(id).execute(admin).await.unwrap();
    };
    let lock = "select from eventsvc.firing where event_id = $1 for update";
    for admin in [&mut earlier, &mut again] {
        sqlx::raw_sql("begin").execute(admin).await.unwrap();
    }
    hold(&mut earlier, &before[0], lock).await;
    hold(&mut again, &both[0], lock).await;

    // What comes while one word waits is heard together.
    let started = |fired: &TriggerFired| RunStarted { run: run_of(fired) };
    let tenant = world.owner.tenant;
    engine.tell(tenant, &started(&before[0])).await;
    waiting(&world, 1).await;
    engine.tell(tenant, &failed(&both[1])).await;
    engine.tell(tenant, &started(&both[0])).await;
    sqlx::raw_sql("commit").execute(&mut earlier).await.unwrap();
    eventually("the first word to be heard", async || {
        let heard = "select count(*) from eventsvc.firing where run_status = 'running'";
        (world.count(heard).await == 1).then_some(())
    })
    .await;
    waiting(&world, 1).await;

    hold(&mut again, &both[1], "select from eventsvc.firing where event_id = $1 for update nowait")
        .await;
    sqlx::raw_sql("commit").execute(&mut again).await.unwrap();
    eventually("both to be heard of", async || {
        let heard = "select count(*) from eventsvc.firing where run_status is not null";
        (world.count(heard).await == 3).then_some(())
    })
    .await;
}
