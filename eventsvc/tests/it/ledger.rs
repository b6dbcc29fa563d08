//! The ledger: the timeline to the run's end, who sees it, lists, tests.

use serde_json::{Value, json};
use shared_models::{
    MicroUsd, Role, RunStatus, Usage, WaitReason,
    events::{
        Event,
        run::{
            RunCreated, RunFinished, RunPaused, RunRef, RunRefused, RunResumed, RunStarted,
            RunWaiting,
        },
        trigger::TriggerFired,
    },
};
use testkit::{Trust, eventually};

use crate::harness::{FakeEngine, World, run_of};

pub(crate) fn steps(delivery: &Value) -> Vec<String> {
    let timeline = delivery["timeline"].as_array().unwrap();
    timeline.iter().map(|step| step["step"].as_str().unwrap().to_owned()).collect()
}

/// A delivery that has fired, and the run that came of it.
pub(crate) struct Told {
    pub(crate) world: World,
    pub(crate) engine: FakeEngine,
    accepted: Value,
    pub(crate) fired: TriggerFired,
    pub(crate) run: RunRef,
}

impl Told {
    pub(crate) async fn start(payload: Value) -> Self {
        let world = Box::pin(World::start()).await;
        let hook = world.open_trigger(json!({})).await;
        let accepted = world.send(hook, &payload).await.expect(202);
        let engine = world.engine().await;
        let fired = engine.take(1).await.remove(0).data;
        let run = run_of(&fired);
        Self { world, engine, accepted, fired, run }
    }

    /// The engine tells of the run.
    pub(crate) async fn tell<E: Event + Clone>(&self, event: E) {
        self.engine.tell(self.world.owner.tenant, &event).await;
    }

    pub(crate) async fn tell_end(&self, status: RunStatus, error: Option<(&str, &str)>, cost: i64) {
        let (run, usage, cost) = (self.run, Usage::default(), Some(MicroUsd(cost)));
        let (error_code, error) =
            error.map(|(code, words)| (code.to_owned(), words.to_owned())).unzip();
        self.tell(RunFinished { run, status, error, error_code, usage, cost }).await;
    }

    pub(crate) async fn delivery(&self) -> Value {
        self.world.delivery(&self.accepted).await
    }

    /// The delivery, once its timeline has so many steps.
    pub(crate) async fn after(&self, count: usize) -> Value {
        eventually("the whole timeline", async || {
            let delivery = self.delivery().await;
            (steps(&delivery).len() == count).then_some(delivery)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_goes_on_to_the_end_of_the_run() {
    let told = Told::start(json!({ "n": 1 })).await;
    let (run, by) = (told.run, Some(told.world.owner.user));

    told.tell(RunCreated { run }).await;
    told.tell(RunStarted { run }).await;
    told.tell(RunWaiting { run, reason: WaitReason::Approval }).await;
    told.tell(RunPaused { run, by }).await;
    told.tell(RunResumed { run, by, after: None }).await;
    told.tell_end(RunStatus::Succeeded, None, 42).await;

    let delivery = told.after(11).await;
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
    for step in [8, 9] {
        assert_eq!(delivery["timeline"][step]["detail"], json!({ "by": by }));
    }
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
    let path = format!("/v1/triggers/{}", told.fired.trigger_id);
    let trigger = told.world.mine().get(&path).await.expect(200);
    for time in [&delivery["received_at"], &last["at"], &firing["fired_at"], &trigger["created_at"]]
    {
        assert_eq!(time.as_str().map(str::len), Some("2026-01-01T00:00:00.000Z".len()), "{time}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_shows_what_the_run_did_to_the_world() {
    let told = Told::start(json!({})).await;
    let (run, world) = (told.run, &told.world);
    let effect = |call: &str, state: &str, at: &str| {
        json!({ "path": [], "call_id": call, "tool_name": "refund", "effect": "unsafe", "state": state,
            "idempotency_key": "k", "reason": null, "answered_by": null, "intended_at": at, "sent_at": at, "ended_at": null })
    };
    // One long after the run began, one that was only intended.
    let mut intended = effect("b", "intended", "2999-01-01T00:00:01.000Z");
    intended["sent_at"] = Value::Null;
    world.agents.lock().unwrap().effects =
        vec![effect("a", "in_doubt", "2999-01-01T00:00:00.000Z"), intended];

    told.tell(RunStarted { run }).await;
    let delivery = told.after(8).await;

    assert_eq!(steps(&delivery)[5..], ["run_started", "effect", "effect"]);
    let [first, second] = [&delivery["timeline"][6], &delivery["timeline"][7]];
    assert_eq!(
        (&first["run_id"], &first["event_id"]),
        (&json!(run.run_id), &json!(told.fired.event_id))
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
    assert_eq!(told.delivery().await["effects_cut"], true);
    // Without the engine the rest is told all the same.
    world.agents.lock().unwrap().down = true;
    let delivery = told.delivery().await;
    assert_eq!((steps(&delivery).len(), &delivery["effects_unknown"]), (6, &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn news_that_come_out_of_order_leave_an_ended_run_ended() {
    let told = Told::start(json!({})).await;
    let run = told.run;

    told.tell_end(RunStatus::Failed, Some(("model_rejected", "no")), 0).await;
    told.tell(RunStarted { run }).await;
    told.tell(RunCreated { run }).await;

    assert_eq!(told.after(8).await["firings"][0]["run_status"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_the_engine_refuses_is_a_failure_with_its_reason() {
    let told = Told::start(json!({})).await;

    told.tell(RunRefused { run: told.run, reason: "the agent is paused".into() }).await;

    let delivery = told.after(6).await;
    assert_eq!(delivery["status"], "failed");
    assert_eq!(
        (&delivery["reason_class"], &delivery["reason"]),
        (&json!("engine"), &json!("the agent is paused"))
    );
    assert_eq!(steps(&delivery)[4..], ["fired", "run_refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_is_a_failure_with_its_reason_and_is_fired_again_with_the_others() {
    let told = Told::start(json!({ "n": 1 })).await;
    let (world, run) = (&told.world, told.run);
    let fails = ("model_auth", "the provider refused the key s3cret");

    told.tell(RunCreated { run }).await;
    told.tell_end(RunStatus::Failed, Some(fails), 0).await;

    let delivery = told.after(7).await;
    let reason = (&json!("failed"), &json!("credential"), &json!("the run failed: `model_auth`"));
    for failed in [&delivery, &delivery["firings"][0]] {
        assert_eq!((&failed["status"], &failed["reason_class"], &failed["reason"]), reason);
    }
    assert_eq!(delivery["firings"][0]["run_status"], "failed");
    assert_eq!(steps(&delivery)[4..], ["fired", "run_created", "run_finished"]);
    assert_eq!(delivery["timeline"][6]["detail"]["error_code"], "model_auth");
    assert_eq!(delivery["timeline"][6]["detail"]["error"], fails.1);
    // What its error says is content.
    let path = format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap());
    let blind = world.api(&world.owner.without_payloads()).get(&path).await;
    assert_eq!(blind.status, 200);
    assert!(!blind.text.contains("s3cret"), "{}", blind.text);
    let listed = "/v1/deliveries?status=failed&reason=credential";
    assert_eq!(world.mine().get(listed).await.expect(200)["items"][0]["id"], delivery["id"]);

    // What it did before it failed would be done once more: that is said, and not asked for unless somebody says so.
    let replay = async |which: Value| world.mine().post("/v1/deliveries/replay", &which).await;
    let usual = replay(json!({ "dry_run": false })).await.expect(202);
    assert_eq!((&usual["deliveries"], &usual["events"]), (&json!(0), &json!([])));
    let dry = replay(json!({ "reason": "credential" })).await.expect(200);
    let shown = (&dry["events"][0]["run_id"], &dry["events"][0]["run_status"]);
    assert_eq!(shown, (&json!(run.run_id), &json!("failed")));
    let replayed = replay(json!({ "status": "failed", "dry_run": false })).await.expect(202);
    assert_eq!(replayed["events"][0]["attempt"], 2);
    let again = told.engine.take(1).await.remove(0).data;
    assert_eq!((again.event_id, again.payload), (told.fired.event_id, Some(json!({ "n": 1 }))));
    let again = told.delivery().await;
    assert_eq!((&again["status"], &again["reason_class"]), (&json!("fired"), &Value::Null));
    // A late word of the first attempt says nothing of the second.
    told.tell_end(RunStatus::TimedOut, Some(("deadline", "late")), 0).await;
    let after = told.after(9).await;
    assert_eq!(
        (&after["status"], &after["firings"][0]["run_status"]),
        (&json!("fired"), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_run_waits_for_what_went_wrong_its_delivery_is_listed_by_that_reason() {
    let told = Told::start(json!({})).await;
    let run = told.run;
    let listed = async |reason: &str| {
        let path = format!("/v1/deliveries?reason={reason}");
        let page = told.world.mine().get(&path).await.expect(200);
        page["items"].as_array().unwrap().len()
    };

    let waits = [
        (WaitReason::Budget, "budget"),
        (WaitReason::Auth, "credential"),
        (WaitReason::Doubt, "tool"),
    ];
    for (nth, (reason, class)) in waits.into_iter().enumerate() {
        told.tell(RunWaiting { run, reason }).await;
        let firing = &told.after(6 + nth).await["firings"][0];
        assert_eq!((&firing["status"], &firing["reason_class"]), (&json!("fired"), &json!(class)));
        assert_eq!(firing["reason"], format!("the run waits: `{reason}`"));
        assert_eq!(listed(class).await, 1, "{class}");
    }
    // An approval is nobody's fault.
    told.tell(RunWaiting { run, reason: WaitReason::Approval }).await;
    assert_eq!(told.after(9).await["firings"][0]["reason_class"], Value::Null);
    told.tell_end(RunStatus::Succeeded, None, 0).await;
    let delivery = told.after(10).await;
    assert_eq!((&delivery["status"], listed("tool").await), (&json!("fired"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_somebody_cancels_is_no_failure_and_one_out_of_time_is() {
    let (cancelled, late) = (Told::start(json!({})).await, Told::start(json!({})).await);
    let hooked = Told::start(json!({})).await;
    hooked.tell_end(RunStatus::Failed, Some(("hook_failed", "no")), 0).await;
    assert_eq!(hooked.after(6).await["reason_class"], "tool");

    cancelled.tell_end(RunStatus::Cancelled, Some(("cancelled", "by ann")), 0).await;
    late.tell_end(RunStatus::TimedOut, Some(("deadline", "too late")), 0).await;

    let (cancelled, late) = (cancelled.after(6).await, late.after(6).await);
    assert_eq!((&cancelled["status"], &cancelled["reason"]), (&json!("fired"), &Value::Null));
    assert_eq!(
        (&late["status"], &late["reason_class"], &late["reason"]),
        (&json!("failed"), &json!("engine"), &json!("the run ran out of time: `deadline`"))
    );
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
