//! Timers as people make, read, edit and delete them.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde_json::{Value, json};
use shared_models::TriggerId;
use testkit::eventually;

use crate::{harness::World, leaving::waiting};

pub(crate) fn now() -> DateTime<Utc> {
    std::time::SystemTime::now().into()
}

/// The first whole second that is at least so far away.
pub(crate) fn in_seconds(seconds: i64) -> String {
    (now() + Duration::seconds(seconds + 1)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(crate) async fn timer(world: &World, options: Value) -> TriggerId {
    world.trigger(json!({ "system": "timer", "options": options })).await.0
}

async fn read(world: &World, id: TriggerId) -> Value {
    world.mine().get(&format!("/v1/triggers/{id}")).await.expect(200)
}

async fn patch(world: &World, id: TriggerId, patch: Value) -> Value {
    world.mine().patch(&format!("/v1/triggers/{id}"), &patch).await.expect(200)
}

/// The one delivery of a trigger.
async fn delivered(world: &World, id: TriggerId) -> Value {
    eventually("the timer to fire", async || {
        let page = world.mine().get(&format!("/v1/deliveries?trigger_id={id}")).await.expect(200);
        let delivery = page["items"].get(0)?["id"].as_str()?.to_owned();
        Some(world.mine().get(&format!("/v1/deliveries/{delivery}")).await.expect(200))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_timer_says_when_it_fires_and_has_no_hook() {
    let world = World::start().await;
    let path = format!("/agent/{}/trigger", world.agent);
    let options = json!({ "cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin" });

    let made = world
        .mine()
        .post(&path, &json!({ "system": "timer", "options": options }))
        .await
        .expect(201);

    let id = made["id"].as_str().unwrap();
    assert_eq!((&made["hook_url"], &made["signing_secret"]), (&Value::Null, &Value::Null));
    assert_eq!(made["status"]["state"], "scheduled");
    let fires = world.mine().get(&format!("/v1/triggers/{id}/fires")).await.expect(200);
    let times = fires["items"].as_array().unwrap();
    assert_eq!((times.len(), &fires["timezone"]), (10, &json!("Europe/Berlin")));
    assert_eq!(times[0]["slot_at"], made["status"]["timer"]["next_slot_at"]);
    assert!(times.is_sorted_by_key(|fire| fire["slot_at"].as_str().unwrap()));
    assert!(times.iter().all(|fire| fire["local_time"].as_str().unwrap().contains("T09:00:00+0")));
    assert_eq!(world.send(id, &json!({})).await.refusal(), (404, "not_found"));
    let source = made["source_id"].as_str().unwrap();
    assert_eq!(world.send(source, &json!({})).await.refusal(), (404, "not_found"));
    assert!(world.vault.lock().unwrap().credentials.is_empty(), "there is nothing to sign");
    let listed = world.mine().get("/v1/triggers?system=timer").await.expect(200);
    assert_eq!(listed["items"][0]["id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_shot_fires_once_becomes_a_run_and_says_that_it_is_done() {
    let world = World::start().await;
    let at = in_seconds(5);
    let payload = json!({ "task": "report", "at": "{{slot_at}}" });

    let id = timer(&world, json!({ "at": at, "payload": payload })).await;

    let fired = world.engine().await.take(1).await.remove(0).data;
    assert_eq!((fired.system.as_str(), fired.trigger_id, fired.attempt), ("timer", id, 1));
    assert_eq!(fired.payload, Some(json!({ "task": "report", "at": at })));
    assert_eq!(fired.dedupe_key.as_ref(), Some(&at));
    assert_eq!(fired.occurred_at.to_rfc3339_opts(SecondsFormat::Secs, true), at);
    assert!(fired.received_at >= fired.occurred_at);
    let delivery = delivered(&world, id).await;
    let steps: Vec<_> =
        delivery["timeline"].as_array().unwrap().iter().map(|step| &step["step"]).collect();
    assert_eq!(steps, ["received", "verified", "deduped", "matched", "fired"]);
    assert_eq!(
        (&delivery["verified_by"], &delivery["dedupe_key"]),
        (&json!("schedule"), &json!(at))
    );
    assert_eq!(delivery["payload"]["task"], "report");
    let status = read(&world, id).await["status"].take();
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&json!("completed"), &json!("it has fired, as it was to do once"))
    );
    let fires = world.mine().get(&format!("/v1/triggers/{id}/fires")).await.expect(200);
    assert_eq!((&fires["items"], &fires["state"]), (&json!([]), &json!("completed")));
    let replay = format!("/v1/deliveries/{}/replay", delivery["id"].as_str().unwrap());
    world.mine().post(&replay, &json!({})).await.expect(202);
    let again = world.engine().await.take(1).await.remove(0).data;
    assert_eq!((again.system.as_str(), again.attempt), ("timer", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_with_the_field_named() {
    let world = World::start().await;
    let credential = shared_models::CredentialId::mint();
    for (more, pointer) in [
        (json!({ "options": {} }), "/options"),
        (json!({ "options": { "cron": "0 25 * * *" } }), "/options/cron"),
        (json!({ "options": { "cron": "0 0 30 2 *" } }), "/options/cron"),
        (json!({ "options": { "cron": "0 0 * * *", "timezone": "Nowhere" } }), "/options/timezone"),
        (json!({ "options": { "at": "2020-01-01T00:00:00Z" } }), "/options/at"),
        (json!({ "options": { "interval_seconds": 0 } }), "/options/interval_seconds"),
        (json!({ "options": { "interval_seconds": 60, "verify": {} } }), "/options/verify"),
        (
            json!({ "options": { "interval_seconds": 60 }, "credential_id": credential }),
            "/credential_id",
        ),
    ] {
        let mut body = json!({ "system": "timer", "agent_id": world.agent });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let refused = world.mine().post("/v1/triggers", &body).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"), "{body}");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{body}");
    }
    assert_eq!(world.count("select count(*) from eventsvc.trigger").await, 0);
    let id = world.open_trigger(json!({})).await;
    let fires = world.mine().get(&format!("/v1/triggers/{id}/fires")).await;
    assert_eq!(fires.refusal(), (409, "not_a_timer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_can_be_tried_before_it_is_saved() {
    let world = World::start().await;
    let preview = async |options: Value| {
        world.mine().post("/v1/triggers/preview", &json!({ "options": options, "limit": 2 })).await
    };

    let cron = preview(json!({ "cron": "30 2 * * *", "timezone": "Europe/Berlin",
        "start_at": "2029-03-24T12:00:00Z" }))
    .await
    .expect(200);

    assert_eq!(
        cron["items"],
        json!([
            { "slot_at": "2029-03-25T01:00:00.000Z", "local_time": "2029-03-25T03:00:00+02:00",
              "due_at": "2029-03-25T01:00:00.000Z" },
            { "slot_at": "2029-03-26T00:30:00.000Z", "local_time": "2029-03-26T02:30:00+02:00",
              "due_at": "2029-03-26T00:30:00.000Z" },
        ])
    );
    let jittered =
        preview(json!({ "interval_seconds": 60, "jitter_seconds": 5 })).await.expect(200);
    assert_eq!(jittered["items"][1]["due_at"], Value::Null);
    let never = preview(json!({ "cron": "0 0 30 2 *" })).await;
    assert_eq!(never.body["errors"][0]["pointer"], "/options/cron");
    let many = json!({ "options": { "interval_seconds": 60 }, "limit": 101 });
    let refused = world.mine().post("/v1/triggers/preview", &many).await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/limit");
    assert_eq!(world.count("select count(*) from eventsvc.trigger").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn jitter_puts_each_slot_off_by_as_much_as_was_said_and_always_the_same() {
    let world = World::start().await;
    let id = timer(&world, json!({ "interval_seconds": 3600, "jitter_seconds": 600 })).await;
    let path = format!("/v1/triggers/{id}/fires?limit=50");

    let fires = world.mine().get(&path).await.expect(200);

    assert_eq!(world.mine().get(&path).await.expect(200), fires);
    let time = |fire: &Value, field: &str| -> DateTime<Utc> {
        fire[field].as_str().unwrap().parse().unwrap()
    };
    let late = |fire: &Value| (time(fire, "due_at") - time(fire, "slot_at")).num_seconds();
    let lates: Vec<i64> = fires["items"].as_array().unwrap().iter().map(late).collect();
    assert!(lates.iter().all(|late| (0..600).contains(late)), "{lates:?}");
    assert!(lates.iter().any(|late| *late != lates[0]), "{lates:?}");
    let due = read(&world, id).await["status"]["timer"]["next_due_at"].take();
    assert_eq!(due, fires["items"][0]["due_at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_goes_by_the_new_schedule_from_now() {
    let world = World::start().await;
    let id = timer(&world, json!({ "interval_seconds": 86_400 })).await;
    let first = read(&world, id).await["status"]["timer"]["next_slot_at"].take();

    let named = patch(&world, id, json!({ "name": "Often", "options": { "payload": 1 } })).await;
    assert_eq!(named["status"]["timer"]["next_slot_at"], first, "the slot that waits stays");
    patch(&world, id, json!({ "options": { "interval_seconds": 1 } })).await;

    let fired = world.engine().await.take(2).await;
    assert!(fired.iter().all(|event| event.data.payload == Some(json!(1))));
    let gap = fired[1].data.occurred_at - fired[0].data.occurred_at;
    assert_eq!(gap.num_milliseconds() % 1000, 0, "no drift");
    let off = patch(&world, id, json!({ "active": false })).await;
    assert_eq!(off["status"]["state"], "inactive");
    assert_eq!(off["status"]["timer"]["next_slot_at"], Value::Null);
    let on = patch(
        &world,
        id,
        json!({ "active": true,
        "options": { "interval_seconds": null, "cron": "0 0 1 1 *", "timezone": "Asia/Tokyo" } }),
    )
    .await;
    assert!(
        on["status"]["timer"]["next_slot_at"].as_str().unwrap().ends_with("12-31T15:00:00.000Z")
    );
    let moved = patch(&world, id, json!({ "options": { "timezone": "Europe/Berlin" } })).await;
    assert!(
        moved["status"]["timer"]["next_slot_at"].as_str().unwrap().ends_with("12-31T23:00:00.000Z")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_shot_that_is_done_can_be_renamed_and_given_another_time() {
    let world = World::start().await;
    let id = timer(&world, json!({ "at": in_seconds(5) })).await;
    delivered(&world, id).await;

    let renamed = patch(&world, id, json!({ "name": "Done" })).await;
    assert_eq!(renamed["status"]["state"], "completed");
    let past = json!({ "options": { "at": "2020-01-01T00:00:00Z" } });
    let refused = world.mine().patch(&format!("/v1/triggers/{id}"), &past).await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/options/at");
    let again = patch(&world, id, json!({ "options": { "at": in_seconds(5) } })).await;
    assert_eq!(again["status"]["state"], "scheduled");
    assert_eq!(world.engine().await.take(2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_passes_its_filter_and_can_be_tried_out() {
    let world = World::start().await;
    let filter = "system == 'timer' && payload.n > 1";
    let options =
        json!({ "interval_seconds": 3600, "payload": { "n": 1, "zone": "{{timezone}}" } });
    let made = json!({ "system": "timer", "options": options, "filter": filter });
    let (id, _) = world.trigger(made).await;
    let path = format!("/v1/triggers/{id}/test");

    let own = world.mine().post(&path, &json!({})).await.expect(202);
    let other = world.mine().post(&path, &json!({ "payload": { "n": 2 } })).await.expect(202);

    assert_eq!((&own["outcome"], &other["outcome"]), (&json!("filtered"), &json!("fired")));
    assert_eq!(world.delivery(&own).await["payload"], json!({ "n": 1, "zone": "UTC" }));
    let event = world.engine().await.take(1).await.remove(0).data;
    assert_eq!((event.system.as_str(), event.payload), ("timer", Some(json!({ "n": 2 }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_timer_stops() {
    let world = World::start().await;
    let id = timer(&world, json!({ "interval_seconds": 1 })).await;
    delivered(&world, id).await;

    assert_eq!(world.mine().delete(&format!("/v1/triggers/{id}")).await.status, 204);

    assert_eq!(world.count("select count(*) from eventsvc.timer").await, 0);
    let fires = world.mine().get(&format!("/v1/triggers/{id}/fires")).await;
    assert_eq!(fires.refusal(), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_have_fired_is_told_slot_by_slot() {
    let world = World::start().await;
    let id = timer(&world, json!({ "interval_seconds": 1, "misfire": "skip" })).await;
    world.status_of(id, "it to fire", |status| status["timer"]["last_slot_at"].is_string()).await;
    let since = now() - Duration::minutes(1);
    let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);

    let path = format!("/v1/triggers/{id}/fires?limit=100&since={since}");
    let fires = world.mine().get(&path).await.expect(200);

    let items = fires["items"].as_array().unwrap();
    assert_eq!(items[0]["fired"], false, "before it was saved nothing fired");
    assert!(items.iter().any(|item| item["fired"] == true));
    assert_eq!(items.last().unwrap()["fired"], false, "what is to come has not fired");
    let refused =
        json!({ "options": { "at": "2099-12-24T12:00:00Z", "blackout": ["2099-12-24"] } });
    let refused = world.mine().post("/v1/triggers/preview", &refused).await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/options/blackout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_is_held_back_while_its_system_is_resumed_is_due_again() {
    let world = World::start().await;
    let hourly = json!({ "system": "timer", "options": { "interval_seconds": 3600 } });
    world.trigger(hourly).await;
    let switch = |paused: bool| json!({ "system": "timer", "paused": paused });
    let (api, path) = (world.mine(), "/v1/triggers/systems");
    api.put(path, &switch(true)).await.expect(200);
    let mut admin = world.db.admin().await;
    // As a scheduler does that has read of the pause.
    let hold = "begin; update eventsvc.timer set next_due_at = null";
    sqlx::raw_sql(hold).execute(&mut admin).await.unwrap();

    let resume = switch(false);
    let release = async {
        waiting(&world, 1).await;
        sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
    };
    let (resumed, ()) = tokio::join!(api.put(path, &resume), release);

    resumed.expect(200);
    let due = "select count(*) from eventsvc.timer where next_due_at = next_slot_at";
    assert_eq!(world.count(due).await, 1);
}
