//! Triggers that fire on what happens on the platform itself, and do not go on for ever.

use serde_json::{Value, json};
use shared_models::{
    AgentId, Role, RunId, RunMode, RunStatus, TriggerId, Usage,
    events::{
        run::{RunFinished, RunPaused, RunRef, RunResumed, RunStarted},
        trigger::TriggerFired,
    },
};
use testkit::eventually;

use crate::harness::{World, run_of};

fn finished(run: RunRef) -> RunFinished {
    RunFinished {
        run,
        status: RunStatus::Succeeded,
        error: None,
        error_code: None,
        usage: Usage::default(),
        cost: None,
    }
}

/// The end of a run that nobody's trigger started.
fn by_hand(agent: AgentId) -> RunFinished {
    let run_id = RunId::mint();
    let run = RunRef {
        run_id,
        agent_id: agent,
        root_run_id: run_id,
        trigger_id: None,
        event_id: None,
        attempt: 0,
        mode: RunMode::Live,
        evaluation_id: None,
    };
    finished(run)
}

async fn bus(world: &World, more: Value) -> TriggerId {
    let mut body = json!({ "system": "nats", "options": { "subjects": ["run.finished"] } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.trigger(body).await.0
}

/// The deliveries of a trigger, latest first.
async fn deliveries(world: &World, id: TriggerId) -> Vec<Value> {
    let page = world.mine().get(&format!("/v1/deliveries?trigger_id={id}")).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_run_fires_once_however_often_it_is_told() {
    let world = World::start().await;
    let engine = world.engine().await;
    let id = bus(&world, json!({ "filter": "payload.data.status == 'succeeded'" })).await;
    let ended = by_hand(world.agent);

    engine.tell(world.owner.tenant, &RunStarted { run: ended.run }).await;
    engine.tell(world.owner.tenant, &ended).await;

    let fired: TriggerFired = engine.take(1).await.remove(0).data;
    assert_eq!((fired.trigger_id, fired.system.as_str()), (id, "nats"));
    let payload = fired.payload.unwrap();
    assert_eq!(payload["event"], "run.finished");
    assert_eq!(payload["data"]["run_id"], json!(ended.run.run_id));
    let delivery = deliveries(&world, id).await;
    assert_eq!((delivery.len(), &delivery[0]["verified_by"]), (1, &json!("bus")));
    let path = format!("/v1/triggers/{id}/listener");
    let listener = eventually("all to be heard", async || {
        let listener = world.mine().get(&path).await.expect(200);
        (listener["cursor"]["behind"] == 0 && listener["found"] == 1).then_some(listener)
    })
    .await;
    assert_eq!(
        (&listener["state"], &listener["cursor"]["sequence"]),
        (&json!("waiting"), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_a_trigger_started_does_not_start_it_again() {
    let world = World::start().await;
    let engine = world.engine().await;
    let first = bus(&world, json!({})).await;
    let second =
        bus(&world, json!({ "options": { "subjects": ["run.finished", "run.refused"] } })).await;

    engine.tell(world.owner.tenant, &by_hand(world.agent)).await;
    // Each of the two fires; what it started starts the other, and then nothing.
    for _ in 0..2 {
        for fired in engine.take(2).await {
            engine.tell(world.owner.tenant, &finished(run_of(&fired.data))).await;
        }
    }

    for id in [first, second] {
        let all = eventually("the ends of all runs", async || {
            let all = deliveries(&world, id).await;
            (all.len() == 5).then_some(all)
        })
        .await;
        let of = |status: &str| all.iter().filter(|one| one["status"] == status).count();
        assert_eq!((of("fired"), of("skipped")), (2, 3), "{all:?}");
        let skipped = all.iter().find(|one| one["status"] == "skipped").unwrap();
        assert_eq!(skipped["reason_class"], "loop");
        assert!(skipped["reason"].as_str().unwrap().contains("for ever"));
    }
    assert_eq!(world.count("select count(*) from eventsvc.firing where status = 'fired'").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_within_runs_and_other_tenants_are_not_heard() {
    let world = World::start().await;
    let engine = world.engine().await;
    let id = bus(&world, json!({})).await;
    let stranger = shared_models::TenantId::mint();

    let mut inner = by_hand(world.agent);
    inner.run.root_run_id = RunId::mint();
    engine.tell(world.owner.tenant, &inner).await;
    engine.tell(stranger, &by_hand(world.agent)).await;
    let last = by_hand(world.agent);
    engine.tell(world.owner.tenant, &last).await;

    let fired = engine.take(1).await.remove(0).data;
    assert_eq!(fired.payload.unwrap()["data"]["run_id"], json!(last.run.run_id));
    assert_eq!(deliveries(&world, id).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_hears_of_the_agents_they_see_and_only_administrators_of_all() {
    let world = World::start().await;
    let member = world.owner.colleague(Role::Member);
    let (theirs, hidden) = (AgentId::mint(), AgentId::mint());
    world.show_agent(theirs, &member, "user");
    world.show_agent(hidden, &world.owner, "user");
    let make = async |agents: Value| {
        let options = json!({ "subjects": ["run.finished"], "agent_ids": agents });
        let body = json!({ "system": "nats", "agent_id": theirs, "options": options });
        world.api(&member).post("/v1/triggers", &body).await
    };

    let all = make(json!([])).await;
    assert_eq!(all.body["errors"][0]["pointer"], "/options/agent_ids");
    let other = make(json!([theirs, hidden])).await;
    assert_eq!(other.body["errors"][0]["pointer"], "/options/agent_ids/1");
    let made = make(json!([theirs])).await.expect(201);
    assert_eq!((&made["hook_url"], &made["credential_id"]), (&Value::Null, &Value::Null));
    let engine = world.engine().await;
    engine.tell(world.owner.tenant, &by_hand(hidden)).await;
    engine.tell(world.owner.tenant, &by_hand(theirs)).await;
    let fired = engine.take(1).await.remove(0).data;
    assert_eq!(fired.payload.unwrap()["data"]["agent_id"], json!(theirs));
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 1);
    let unknown =
        json!({ "system": "nats", "agent_id": world.agent, "options": { "subjects": ["run.*"] } });
    let refused = world.mine().post("/v1/triggers", &unknown).await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/options/subjects/0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_for_a_while_is_heard_of() {
    let world = World::start().await;
    let engine = world.engine().await;
    let subjects = json!({ "subjects": ["run.paused", "run.resumed"] });
    bus(&world, json!({ "options": subjects })).await;
    let (run, by) = (by_hand(world.agent).run, Some(world.owner.user));

    engine.tell(world.owner.tenant, &RunPaused { run, by }).await;
    engine.tell(world.owner.tenant, &RunResumed { run, by, after: None }).await;

    let fired = engine.take(2).await.into_iter().map(|event| event.data.payload.unwrap());
    let mut heard: Vec<Value> = fired.map(|payload| payload["event"].clone()).collect();
    heard.sort_unstable_by_key(ToString::to_string);
    assert_eq!(heard, ["run.paused", "run.resumed"]);
}
