//! What a trigger counts as failed.

use serde_json::json;
use shared_models::{
    RunStatus,
    events::run::{RunRefused, RunStarted},
};
use testkit::eventually;

use crate::{harness::World, ledger::Told};

/// Fires the delivery once more, and goes on with the run of that attempt.
async fn again(told: &mut Told) {
    let path = format!("/v1/deliveries/{}/replay", told.delivery().await["id"].as_str().unwrap());
    told.world.mine().post(&path, &json!({})).await.expect(202);
    told.run.attempt += 1;
}

/// Waits until the firing is like this.
async fn heard(told: &Told, status: &str) {
    eventually("what was told to be heard", async || {
        let firing = told.delivery().await["firings"][0].take();
        (firing["run_status"] == status || firing["reason"] == status).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_counts_each_attempt_that_failed_with_its_run_or_without_one_once() {
    let mut told = Told::start(json!({})).await;
    let hook = told.fired.trigger_id;
    let counted = async |told: &Told, failed: i64| {
        let counts = told
            .world
            .status_of(hook, "failures to be counted", |status| status["failed"] == failed);
        assert_eq!(counts.await["fired"], 1, "a delivery that fired has fired");
    };

    told.tell_end(RunStatus::Failed, Some(("model_rejected", "no")), 0).await;
    counted(&told, 1).await;
    // What comes late is of a run that is counted already.
    told.tell(RunStarted { run: told.run }).await;
    told.after(7).await;

    again(&mut told).await;
    told.tell_end(RunStatus::Cancelled, None, 0).await;
    heard(&told, "cancelled").await;
    again(&mut told).await;
    told.tell_end(RunStatus::Succeeded, None, 0).await;
    heard(&told, "succeeded").await;

    again(&mut told).await;
    told.tell_end(RunStatus::TimedOut, Some(("deadline", "late")), 0).await;
    counted(&told, 2).await;
    again(&mut told).await;
    told.tell(RunRefused { run: told.run, reason: "it is gone".into() }).await;
    counted(&told, 3).await;
    // Said once more, in another message.
    told.tell(RunRefused { run: told.run, reason: "it is gone for good".into() }).await;
    heard(&told, "it is gone for good").await;
    again(&mut told).await;
    told.tell_end(RunStatus::Failed, None, 0).await;
    counted(&told, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_delivery_that_cannot_fire_when_it_is_let_go_is_counted_as_failed() {
    let world = World::start().await;
    let input = json!({ "ask": "Who is {{payload.who}}?" });
    let hook = world.open_trigger(json!({ "paused": true, "input": input })).await;
    let held = world.send(hook, &json!({ "n": 1 })).await.expect(202);
    assert_eq!(held["outcome"], "held");

    let path = format!("/v1/triggers/{hook}");
    world.mine().patch(&path, &json!({ "paused": false })).await.expect(200);

    // It fired when it came, and could not when it was let go.
    world
        .status_of(hook, "it to be counted", |status| status["failed"] == 1 && status["fired"] == 1)
        .await;
    let delivery = world.delivery(&held).await;
    assert_eq!(
        (&delivery["status"], &delivery["reason_class"]),
        (&json!("failed"), &json!("input"))
    );
}
