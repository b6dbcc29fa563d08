//! The ledger: the timeline to the run's end, replays, tests, lists, retention.

use serde_json::{Value, json};
use shared_models::{
    MicroUsd, Role, RunStatus, Usage, WaitReason,
    events::run::{
        RunCreated, RunFinished, RunPaused, RunRefused, RunResumed, RunStarted, RunWaiting,
    },
};
use testkit::{Trust, eventually};

use crate::harness::{World, run_of};

fn steps(delivery: &Value) -> Vec<String> {
    let timeline = delivery["timeline"].as_array().unwrap();
    timeline.iter().map(|step| step["step"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_goes_on_to_the_end_of_the_run() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({ "n": 1 })).await.expect(202);
    let engine = world.engine().await;
    let fired = engine.take(1).await.remove(0).data;
    let (run, tenant) = (run_of(&fired), world.owner.tenant);

    engine.tell(tenant, &RunCreated { run }).await;
    engine.tell(tenant, &RunStarted { run }).await;
    engine.tell(tenant, &RunWaiting { run, reason: WaitReason::Approval }).await;
    let by = Some(world.owner.user);
    engine.tell(tenant, &RunPaused { run, by }).await;
    engine.tell(tenant, &RunResumed { run, by }).await;
    let usage = Usage::default();
    let ended = RunFinished {
        run,
        status: RunStatus::Succeeded,
        error: None,
        usage,
        cost: Some(MicroUsd(42)),
    };
    engine.tell(tenant, &ended).await;

    let delivery = eventually("the whole timeline", async || {
        let delivery = world.delivery(&accepted).await;
        (delivery["timeline"].as_array().unwrap().len() == 11).then_some(delivery)
    })
    .await;
    assert_eq!(
        steps(&delivery),
        [
            "received",
            "verified",
            "deduped",
            "matched",
            "fired",
            "run_created",
            "run_started",
            "run_waiting",
            "run_paused",
            "run_resumed",
            "run_finished"
        ]
    );
    assert_eq!(delivery["timeline"][8]["detail"]["by"], json!(by));
    let last = &delivery["timeline"][10];
    assert_eq!(last["run_id"], json!(run.run_id));
    assert_eq!(
        (&last["detail"]["status"], &last["detail"]["cost"]),
        (&json!("succeeded"), &json!(42))
    );
    let firing = &delivery["firings"][0];
    assert_eq!(
        (&firing["run_id"], &firing["run_status"]),
        (&json!(run.run_id), &json!("succeeded"))
    );
    assert_eq!(delivery["payload"], json!({ "n": 1 }));
    // Milliseconds, as everywhere.
    let trigger = world.mine().get(&format!("/v1/triggers/{hook}")).await.expect(200);
    for time in [&delivery["received_at"], &last["at"], &firing["fired_at"], &trigger["created_at"]]
    {
        assert_eq!(time.as_str().map(str::len), Some("2026-01-01T00:00:00.000Z".len()), "{time}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_shows_what_the_run_did_to_the_world() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({})).await.expect(202);
    let engine = world.engine().await;
    let fired = engine.take(1).await.remove(0).data;
    let (run, tenant) = (run_of(&fired), world.owner.tenant);
    let effect = |call: &str, state: &str, at: &str| {
        json!({ "path": [], "call_id": call, "tool_name": "refund", "effect": "unsafe", "state": state,
            "idempotency_key": "k", "reason": null, "answered_by": null, "intended_at": at, "sent_at": at, "ended_at": null })
    };
    // One long after the run began, one that was only intended.
    let mut intended = effect("b", "intended", "2999-01-01T00:00:01.000Z");
    intended["sent_at"] = Value::Null;
    world.agents.lock().unwrap().effects =
        vec![effect("a", "in_doubt", "2999-01-01T00:00:00.000Z"), intended];

    engine.tell(tenant, &RunStarted { run }).await;
    let delivery = eventually("the run in the timeline", async || {
        let delivery = world.delivery(&accepted).await;
        (delivery["timeline"].as_array().unwrap().len() == 8).then_some(delivery)
    })
    .await;

    assert_eq!(steps(&delivery)[5..], ["run_started", "effect", "effect"]);
    let [first, second] = [&delivery["timeline"][6], &delivery["timeline"][7]];
    assert_eq!(
        (&first["run_id"], &first["event_id"]),
        (&json!(run.run_id), &json!(fired.event_id))
    );
    assert_eq!(
        (&first["detail"]["call_id"], &first["detail"]["state"]),
        (&json!("a"), &json!("in_doubt"))
    );
    assert_eq!(second["at"], "2999-01-01T00:00:01.000Z");
    assert_eq!(delivery["effects_unknown"], Value::Null);
    assert_eq!(delivery["effects_cut"], Value::Null);
    // Where it did more than is told here, that is said.
    world.agents.lock().unwrap().more = true;
    assert_eq!(world.delivery(&accepted).await["effects_cut"], true);
    // Without the engine the rest is told all the same.
    world.agents.lock().unwrap().down = true;
    let delivery = world.delivery(&accepted).await;
    assert_eq!((steps(&delivery).len(), &delivery["effects_unknown"]), (6, &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn news_that_come_out_of_order_leave_an_ended_run_ended() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({})).await.expect(202);
    let engine = world.engine().await;
    let fired = engine.take(1).await.remove(0).data;
    let (run, tenant) = (run_of(&fired), world.owner.tenant);

    let (usage, cost) = (Usage::default(), Some(MicroUsd(0)));
    let ended =
        RunFinished { run, status: RunStatus::Failed, error: Some("no".into()), usage, cost };
    engine.tell(tenant, &ended).await;
    engine.tell(tenant, &RunStarted { run }).await;
    engine.tell(tenant, &RunCreated { run }).await;

    let delivery = eventually("all news", async || {
        let delivery = world.delivery(&accepted).await;
        (delivery["timeline"].as_array().unwrap().len() == 8).then_some(delivery)
    })
    .await;
    assert_eq!(delivery["firings"][0]["run_status"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_the_engine_refuses_is_a_failure_with_its_reason() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({})).await.expect(202);
    let engine = world.engine().await;
    let fired = engine.take(1).await.remove(0).data;

    let refused = RunRefused { run: run_of(&fired), reason: "the agent is paused".into() };
    engine.tell(world.owner.tenant, &refused).await;

    let delivery = eventually("the refusal", async || {
        let delivery = world.delivery(&accepted).await;
        (delivery["status"] == "failed").then_some(delivery)
    })
    .await;
    assert_eq!(
        (&delivery["reason_class"], &delivery["reason"]),
        (&json!("engine"), &json!("the agent is paused"))
    );
    assert_eq!(steps(&delivery)[4..], ["fired", "run_refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_the_event_and_counts_attempts() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({ "n": 1 })).await.expect(202);
    let engine = world.engine().await;
    let first = engine.take(1).await.remove(0);
    let path = format!("/v1/deliveries/{}/replay", accepted["delivery_id"].as_str().unwrap());

    let replayed =
        world.mine().header("idempotency-key", "k").post(&path, &json!({})).await.expect(202);
    let again =
        world.mine().header("idempotency-key", "k").post(&path, &json!({})).await.expect(202);
    let third = world.mine().post(&path, &json!({})).await.expect(202);

    assert_eq!(replayed["events"], json!([{ "event_id": first.data.event_id, "attempt": 2 }]));
    assert_eq!(again, replayed, "the same key replays once");
    assert_eq!(third["events"][0]["attempt"], 3);
    let mut heard = engine.take(2).await;
    heard.sort_by_key(|event| event.data.attempt);
    for (event, attempt) in heard.iter().zip([2, 3]) {
        assert_eq!((event.data.event_id, event.data.attempt), (first.data.event_id, attempt));
        assert_eq!(event.data.payload, first.data.payload);
        assert_ne!(event.id, first.id);
    }
    assert_eq!(steps(&world.delivery(&accepted).await)[4..], ["fired", "replayed", "replayed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_filter_turned_away_can_be_fired_after_all() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "filter": "payload.n > 1" })).await;
    let accepted = world.send(hook, &json!({ "n": 1 })).await.expect(202);
    let path = format!("/v1/deliveries/{}/replay", accepted["delivery_id"].as_str().unwrap());

    let replayed = world.mine().post(&path, &json!({})).await.expect(202);

    assert_eq!(replayed["events"][0]["attempt"], 1);
    let delivery = world.delivery(&accepted).await;
    assert_eq!(delivery["status"], "fired");
    assert_eq!(steps(&delivery)[4..], ["filtered", "replayed"]);
    world
        .mine()
        .patch(&format!("/v1/triggers/{hook}"), &json!({ "active": false }))
        .await
        .expect(200);
    assert_eq!(world.mine().post(&path, &json!({})).await.refusal(), (409, "not_replayable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_seen_by_who_sees_its_trigger_and_its_content_by_who_may() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({ "n": "s3cret" })).await.expect(202);
    let path = format!("/v1/deliveries/{}", accepted["delivery_id"].as_str().unwrap());

    let blind = world.api(&world.owner.without_payloads()).get(&path).await;
    assert_eq!((blind.status, &blind.body["redacted"]), (200, &json!(true)));
    assert!(!blind.text.contains("s3cret"), "{}", blind.text);
    for person in [world.owner.colleague(Role::Member), Trust::new().owner()] {
        assert_eq!(world.api(&person).get(&path).await.refusal(), (404, "not_found"));
        let replay = world.api(&person).post(&format!("{path}/replay"), &json!({})).await;
        assert_eq!(replay.refusal(), (404, "not_found"));
        assert_eq!(world.api(&person).get("/v1/deliveries").await.expect(200)["items"], json!([]));
    }
    world.api(&world.owner.colleague(Role::Admin)).get(&path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_listed_in_pages_and_narrowed() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "filter": "payload.n > 1" })).await;
    let other = world.open_trigger(json!({})).await;
    for n in 0..4 {
        world.send(hook, &json!({ "n": n })).await.expect(202);
    }
    world.send(other, &json!({})).await.expect(202);
    let list =
        async |query: &str| world.mine().get(&format!("/v1/deliveries{query}")).await.expect(200);
    let size = |page: &Value| page["items"].as_array().unwrap().len();

    let first = list("?limit=3").await;
    let second = list(&format!("?limit=3&cursor={}", first["next_cursor"].as_str().unwrap())).await;

    assert_eq!((size(&first), size(&second), &second["next_cursor"]), (3, 2, &Value::Null));
    assert_eq!(first["items"][0]["firings"][0]["trigger_id"], json!(other));
    assert_eq!(size(&list(&format!("?trigger_id={hook}")).await), 4);
    assert_eq!(size(&list("?status=filtered").await), 2);
    assert_eq!(size(&list("?reason=unmatched").await), 2);
    assert_eq!(size(&list("?since=2100-01-01T00:00:00Z").await), 0);
    assert_eq!(size(&list("?until=2100-01-01T00:00:00Z").await), 5);
    assert_eq!(
        world.mine().get("/v1/deliveries?status=odd").await.refusal(),
        (422, "validation_failed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_fires_like_the_real_thing_and_is_marked() {
    let world = World::start().await;
    let (hook, _) = world
        .trigger(json!({ "filter": "payload.n > 1 && headers['x-github-event'] == 'push'" }))
        .await;
    let path = format!("/v1/triggers/{hook}/test");
    let test = |n: i32| json!({ "payload": { "n": n }, "headers": { "x-github-event": "push" } });

    let fired = world.mine().post(&path, &test(2)).await.expect(202);
    let filtered = world.mine().post(&path, &test(1)).await.expect(202);

    assert_eq!((&fired["outcome"], &filtered["outcome"]), (&json!("fired"), &json!("filtered")));
    assert_eq!(filtered["reason"], "the filter said no");
    let event = world.engine().await.take(1).await.remove(0).data;
    assert_eq!(json!([event.event_id]), fired["event_ids"]);
    assert_eq!(world.delivery(&fired).await["verified_by"], "test");
    let nul = world.mine().post(&path, &json!({ "payload": "a\0" })).await;
    assert_eq!(nul.refusal(), (422, "validation_failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deliveries_are_replayed_after_a_dry_run_has_shown_what_would_fire() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "filter": "payload.n > 1" })).await;
    let other = world.open_trigger(json!({ "filter": "payload.n > 1" })).await;
    for n in [0, 1] {
        world.send(hook, &json!({ "n": n })).await.expect(202);
    }
    world.send(other, &json!({ "n": 1 })).await.expect(202);
    let which = json!({ "trigger_id": hook, "status": "filtered" });
    let replay = async |more: Value| {
        let mut body = which.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.mine().post("/v1/deliveries/replay", &body).await
    };

    let dry = replay(json!({})).await.expect(200);
    assert_eq!(world.count("select count(*) from eventsvc.outbox").await, 0, "nothing was done");
    let done = replay(json!({ "dry_run": false })).await.expect(202);

    assert_eq!((&dry["deliveries"], &dry["dry_run"]), (&json!(2), &json!(true)));
    assert_eq!(dry["events"], done["events"], "what was shown is what fires");
    let fired = world.engine().await.take(2).await;
    let payloads: Vec<_> = fired.iter().map(|event| event.data.payload.clone().unwrap()).collect();
    assert_eq!(payloads, [json!({ "n": 0 }), json!({ "n": 1 })], "oldest first");
    assert_eq!(replay(json!({ "dry_run": false })).await.expect(202)["deliveries"], 0);
    world.mine().patch(&format!("/v1/triggers/{other}"), &json!({ "active": false })).await;
    let refused = world
        .mine()
        .post("/v1/deliveries/replay", &json!({ "trigger_id": other, "status": "filtered" }))
        .await
        .expect(200);
    assert_eq!(
        (refused["events"].as_array().unwrap().len(), refused["refused"].as_array().unwrap().len()),
        (0, 1)
    );
    assert_eq!(replay(json!({ "limit": 0 })).await.refusal(), (422, "validation_failed"));
    let stranger = world.api(&world.owner.colleague(Role::Member));
    let seen = stranger.post("/v1/deliveries/replay", &which).await.expect(200);
    assert_eq!(seen["deliveries"], 0, "nobody replays what they do not see");
}
