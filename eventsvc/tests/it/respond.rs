//! Senders that wait for the run's answer.

use serde_json::json;
use shared_models::{
    MicroUsd, RunStatus, Usage,
    events::run::{RunFinished, RunRefused},
};

use crate::harness::{World, run_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_waits_is_given_what_the_run_came_to() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "respond": "result" })).await;
    let (engine, tenant) = (world.engine().await, world.owner.tenant);

    let body = json!({ "n": 1 });
    let run = async {
        let fired = engine.take(1).await.remove(0).data;
        let run = run_of(&fired);
        let usage = Usage::default();
        let ended = RunFinished {
            run,
            status: RunStatus::Succeeded,
            error: None,
            error_code: None,
            usage,
            cost: Some(MicroUsd(0)),
        };
        engine.tell(tenant, &ended).await;
        (run.run_id, fired.event_id)
    };
    let (reply, (run_id, event_id)) = tokio::join!(world.send(hook, &body), run);

    let answer = reply.expect(200);
    assert_eq!((&answer["status"], &answer["output"]), (&json!("succeeded"), &json!("42")));
    assert_eq!((&answer["run_id"], &answer["event_id"]), (&json!(run_id), &json!(event_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_told_when_there_will_be_no_run() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "respond": "result" })).await;
    let (engine, tenant) = (world.engine().await, world.owner.tenant);

    let body = json!({});
    let refuse = async {
        let fired = engine.take(1).await.remove(0).data;
        let refused = RunRefused { run: run_of(&fired), reason: "the agent is paused".into() };
        engine.tell(tenant, &refused).await;
    };
    let (reply, ()) = tokio::join!(world.send(hook, &body), refuse);

    let answer = reply.expect(200);
    assert_eq!(
        (&answer["status"], &answer["error"]),
        (&json!("refused"), &json!("the agent is paused"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_waits_no_longer_than_is_said_and_loses_nothing() {
    let world = World::start().await;
    let hook = world
        .open_trigger(
            json!({ "respond": "result", "respond_seconds": 1, "filter": "payload.n > 0" }),
        )
        .await;

    let accepted = world.send(hook, &json!({ "n": 1 })).await.expect(202);
    let filtered = world.send(hook, &json!({ "n": 0 })).await.expect(202);

    assert_eq!((&accepted["outcome"], &filtered["outcome"]), (&json!("fired"), &json!("filtered")));
    assert_eq!(world.engine().await.take(1).await[0].data.payload, Some(json!({ "n": 1 })));
}
