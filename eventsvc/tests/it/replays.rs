//! Firing again what was stored: one delivery, or many after a dry run.

use serde_json::{Value, json};
use shared_models::{Role, TriggerId};
use testkit::{Api, Reply};

use crate::{harness::World, ledger::steps};

const ONLY_LARGE: &str = "payload.n > 1";

async fn replay(world: &World, accepted: &Value) -> Reply {
    world.mine().post(&path(accepted), &json!({})).await
}

fn path(accepted: &Value) -> String {
    format!("/v1/deliveries/{}/replay", accepted["delivery_id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_the_event_and_counts_attempts() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({ "n": 1 })).await.expect(202);
    let engine = world.engine().await;
    let first = engine.take(1).await.remove(0);
    let once = world.mine().header("idempotency-key", "k");

    let replayed = once.post(&path(&accepted), &json!({})).await.expect(202);
    let again = once.post(&path(&accepted), &json!({})).await.expect(202);
    let third = replay(&world, &accepted).await.expect(202);

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
    let hook = world.open_trigger(json!({ "filter": ONLY_LARGE })).await;
    let accepted = world.send(hook, &json!({ "n": 1 })).await.expect(202);

    let replayed = replay(&world, &accepted).await.expect(202);

    assert_eq!(replayed["events"][0]["attempt"], 1);
    let delivery = world.delivery(&accepted).await;
    assert_eq!(delivery["status"], "fired");
    assert_eq!(steps(&delivery)[4..], ["filtered", "replayed"]);
    let trigger = format!("/v1/triggers/{hook}");
    world.mine().patch(&trigger, &json!({ "active": false })).await.expect(200);
    assert_eq!(replay(&world, &accepted).await.refusal(), (409, "not_replayable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deliveries_are_replayed_after_a_dry_run_has_shown_what_would_fire() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "filter": ONLY_LARGE })).await;
    let other = world.open_trigger(json!({ "filter": ONLY_LARGE })).await;
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

/// Two triggers at one hook: one fires, the other cannot. Gives them, and a delivery that came for both.
async fn one_that_fires_and_one_that_cannot(world: &World) -> (TriggerId, TriggerId, Value) {
    let credential = world.credential(json!({ "secret": "key" }));
    let options = json!({ "verify": { "scheme": "bearer" } });
    let body = json!({ "credential_id": credential, "options": options });
    let mut broken = body.clone();
    broken["filter"] = json!("payload.missing == 1");
    let (hook, _) = world.trigger(body).await;
    let (other, _) = world.trigger(broken).await;
    let sender = Api::router(world.router.clone()).token("key");
    let accepted = sender.post(&format!("/v1/hooks/{hook}"), &json!({})).await.expect(202);
    (hook, other, accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_delivery_only_what_was_asked_for_is_fired_again_and_by_two_at_once_only_once() {
    let world = World::start().await;
    let (hook, other, accepted) = one_that_fires_and_one_that_cannot(&world).await;
    let fired = world.engine().await.take(1).await.remove(0).data;
    assert_eq!(fired.trigger_id, hook);
    let delivery = world.delivery(&accepted).await;
    assert_eq!(
        (&delivery["status"], delivery["firings"].as_array().unwrap().len()),
        (&json!("fired"), 2)
    );

    let list = "/v1/deliveries?status=failed&reason=filter";
    assert_eq!(world.mine().get(list).await.expect(200)["items"][0]["id"], delivery["id"]);
    let none = format!("/v1/deliveries?status=failed&trigger_id={hook}");
    assert_eq!(world.mine().get(&none).await.expect(200)["items"], json!([]));
    let asked = json!({ "dry_run": false });
    let (mine, admin) = (world.mine(), world.api(&world.owner.colleague(Role::Admin)));
    let (one, two) = tokio::join!(
        mine.post("/v1/deliveries/replay", &asked),
        admin.post("/v1/deliveries/replay", &asked)
    );

    let mut events = Vec::new();
    for answer in [one.expect(202), two.expect(202)] {
        events.extend(answer["events"].as_array().unwrap().clone());
    }
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((&events[0]["trigger_id"], &events[0]["attempt"]), (&json!(other), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_fired_again_for_one_of_its_triggers_or_for_all() {
    let world = World::start().await;
    let (hook, other, accepted) = one_that_fires_and_one_that_cannot(&world).await;
    let elsewhere = world.open_trigger(json!({})).await;
    let only = |trigger: TriggerId| format!("{}?trigger_id={trigger}", path(&accepted));
    let once = world.mine().header("idempotency-key", "k");
    let firings = world.delivery(&accepted).await["firings"].take();
    let event = |trigger: TriggerId| {
        let mut all = firings.as_array().unwrap().iter();
        all.find(|firing| firing["trigger_id"] == json!(trigger)).unwrap()["event_id"].clone()
    };

    let first = once.post(&only(other), &json!({})).await.expect(202);
    let again = once.post(&only(other), &json!({})).await.expect(202);
    let reused = once.post(&only(hook), &json!({})).await;
    let all = replay(&world, &accepted).await.expect(202);

    assert_eq!(first["events"], json!([{ "event_id": event(other), "attempt": 1 }]));
    assert_eq!(again, first, "the same key replays once");
    assert_eq!(reused.refusal(), (422, "idempotency_key_reused"));
    let mut attempts: Vec<_> = all["events"].as_array().unwrap().iter().collect();
    attempts.sort_by_key(|fired| fired["attempt"].as_i64());
    let both = [(event(hook), 2), (event(other), 2)];
    for (event_id, attempt) in both {
        assert!(attempts.contains(&&json!({ "event_id": event_id, "attempt": attempt })), "{all}");
    }
    let fired = world.engine().await.take(4).await;
    let of_other = fired.iter().filter(|event| event.data.trigger_id == other).count();
    assert_eq!(of_other, 2);
    // Refused, and nothing is fired.
    let nobody = world.mine().post(&only(TriggerId::mint()), &json!({})).await;
    assert_eq!(nobody.refusal(), (404, "not_found"));
    let unconcerned = world.mine().post(&only(elsewhere), &json!({})).await;
    assert_eq!(unconcerned.refusal(), (409, "not_replayable"));
    assert!(unconcerned.text.contains("did not come for"), "{}", unconcerned.text);
    let odd = world.mine().post(&format!("{}?trigger=x", path(&accepted)), &json!({})).await;
    assert_eq!(odd.refusal(), (422, "validation_failed"));
    let stranger = world.api(&world.owner.colleague(Role::Member));
    assert_eq!(stranger.post(&only(other), &json!({})).await.refusal(), (404, "not_found"));
    let done = steps(&world.delivery(&accepted).await);
    assert_eq!(done.iter().filter(|step| *step == "replayed").count(), 3);
}
