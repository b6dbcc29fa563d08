//! Listeners that go and look: shared, moved, edited, fenced; documents and feeds.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use eventsvc::ListenerWorker;
use serde_json::{Value, json};
use shared_models::TriggerId;
use sqlx::AssertSqlSafe;
use testkit::{Answer, Stub, eventually, eventually_within};

use crate::{
    harness::World,
    losses::{PATIENCE, killed_before_its_commit},
    timers::now,
};

pub(crate) async fn run(world: &World, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut world.db.admin().await).await.unwrap();
}

/// A server with a list of things that a test can change; it answers 304 to who knows the list.
#[derive(Clone)]
struct Shelf(Arc<Mutex<Vec<Value>>>);

impl Shelf {
    async fn start() -> (Self, Stub) {
        let shelf = Self(Arc::default());
        let things = shelf.0.clone();
        let stub = Stub::start(move |request| {
            let things = things.lock().unwrap();
            let etag = format!("\"{}\"", things.len());
            if request.header("if-none-match") == etag {
                return Answer::Raw(304, Vec::new(), Vec::new());
            }
            let body = json!({ "data": *things }).to_string().into_bytes();
            Answer::Raw(200, vec![("etag".into(), etag)], body)
        })
        .await;
        (shelf, stub)
    }

    fn put(&self, id: i64) {
        self.0.lock().unwrap().push(json!({ "id": id }));
    }
}

async fn poll(world: &World, stub: &Stub, more: Value) -> TriggerId {
    let mut options = json!({ "url": format!("{}/things", stub.url()), "items": "/data" });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.trigger(json!({ "system": "poll", "options": options })).await.0
}

pub(crate) async fn listener(world: &World, id: TriggerId) -> Value {
    world.mine().get(&format!("/v1/triggers/{id}/listener")).await.expect(200)
}

pub(crate) async fn look(world: &World, id: TriggerId) {
    let path = format!("/v1/triggers/{id}/listener/look");
    assert_eq!(world.mine().post(&path, &json!({})).await.status, 202);
}

/// Waits until a look has come this far.
pub(crate) async fn until(
    world: &World,
    id: TriggerId,
    what: &str,
    done: impl Fn(&Value) -> bool,
) -> Value {
    eventually_within(PATIENCE, what, async || {
        let listener = listener(world, id).await;
        done(&listener).then_some(listener)
    })
    .await
}

/// Waits until no look is under way or due for a while, so that what a test changes behind the listener's back stays.
pub(crate) async fn rest(world: &World, id: TriggerId) -> Value {
    until(world, id, "the listener to rest", |l| {
        let next: DateTime<Utc> = l["next_at"].as_str().unwrap().parse().unwrap();
        l["state"] == "waiting" && !l["cursor"].is_null() && next > now() + TimeDelta::minutes(1)
    })
    .await
}

pub(crate) async fn payloads(world: &World) -> Vec<Value> {
    let sql =
        "select convert_from(body, 'UTF8')::jsonb from eventsvc.delivery order by delivery_id";
    sqlx::query_scalar(sql).fetch_all(&mut world.db.admin().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_at_an_address_fires_once_and_what_was_there_does_not() {
    let world = World::start().await;
    let (shelf, stub) = Shelf::start().await;
    shelf.put(1);
    let id = poll(&world, &stub, json!({})).await;
    until(&world, id, "the first look", |l| !l["cursor"].is_null()).await;

    shelf.put(2);
    shelf.put(3);
    look(&world, id).await;
    until(&world, id, "two things", |l| l["found"] == 2).await;
    look(&world, id).await;
    eventually("a look at what has not changed", async || {
        let last = stub.requests().pop().unwrap();
        (last.header("if-none-match") == "\"3\"").then_some(())
    })
    .await;

    let fired = world.engine().await.take(2).await;
    assert_eq!(fired[0].data.system, "poll");
    assert_eq!(payloads(&world).await, [json!({ "id": 2 }), json!({ "id": 3 })]);
    let listener = until(&world, id, "it to rest", |l| l["state"] == "waiting").await;
    assert_eq!((&listener["triggers"], &listener["failures"]), (&json!(1), &json!(0)));
    assert_eq!(
        world.mine().get(&format!("/triggers/{id}")).await.expect(200)["hook_url"],
        Value::Null
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_read_from_its_oldest_entry_on() {
    let world = World::start().await;
    let feed = "<rss><channel><item><guid>2</guid><title>Two</title></item>\
        <item><guid>1</guid><title>One</title></item></channel></rss>";
    let stub = Stub::start(move |_| Answer::Raw(200, Vec::new(), feed.into())).await;
    let options = json!({ "url": stub.url(), "format": "feed", "backfill": true });

    world
        .trigger(json!({ "system": "poll", "options": options, "filter": "payload.id != ''" }))
        .await;

    let titles: Vec<_> = eventually("both", async || {
        let all = payloads(&world).await;
        (all.len() == 2).then_some(all)
    })
    .await
    .into_iter()
    .map(|entry| entry["title"].clone())
    .collect();
    assert_eq!(titles, ["One", "Two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_look_at_the_same_share_a_listener_and_the_last_to_leave_stops_it() {
    let world = World::start().await;
    let (shelf, stub) = Shelf::start().await;
    let first = poll(&world, &stub, json!({})).await;
    let second = poll(&world, &stub, json!({})).await;
    let other = poll(&world, &stub, json!({ "interval_seconds": 60 })).await;
    until(&world, first, "the first look", |l| !l["cursor"].is_null()).await;
    let (one, two) = (listener(&world, first).await, listener(&world, second).await);
    assert_eq!((&one["source_id"], &one["triggers"]), (&two["source_id"], &json!(2)));
    assert_ne!(one["source_id"], listener(&world, other).await["source_id"]);
    world.mine().delete(&format!("/triggers/{other}")).await;

    shelf.put(1);
    look(&world, second).await;
    assert_eq!(world.engine().await.take(2).await.len(), 2, "both fire");
    assert_eq!(payloads(&world).await.len(), 1, "of one delivery");

    world.mine().delete(&format!("/triggers/{first}")).await;
    assert_eq!(listener(&world, second).await["triggers"], 1);
    world.mine().delete(&format!("/triggers/{second}")).await;
    assert_eq!(world.count("select count(*) from eventsvc.source_lease").await, 0);
    assert_eq!(world.count("select count(*) from eventsvc.source_cursor").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_takes_effect_at_once_and_another_address_begins_anew() {
    let world = World::start().await;
    let (_, empty) = Shelf::start().await;
    let (shelf, full) = Shelf::start().await;
    shelf.put(1);
    let id = poll(&world, &empty, json!({})).await;
    let before = until(&world, id, "the first look", |l| !l["cursor"].is_null()).await;

    let options = json!({ "options": { "url": format!("{}/things", full.url()) } });
    world.mine().patch(&format!("/v1/triggers/{id}"), &options).await.expect(200);

    eventually("a look at the new address", async || (!full.requests().is_empty()).then_some(()))
        .await;
    let after = until(&world, id, "its cursor", |l| l["cursor"]["seen"][0].is_string()).await;
    assert_eq!(before["source_id"], after["source_id"]);
    assert_eq!(payloads(&world).await, Vec::<Value>::new(), "what was there already is not new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_fails_says_why_and_waits_longer_each_time() {
    let world = World::start().await;
    let stub = Stub::start(|_| Answer::Json(500, json!({}))).await;
    let id = poll(&world, &stub, json!({})).await;

    let failing = until(&world, id, "a failure", |l| l["failures"] == 1).await;

    assert_eq!(failing["last_error"], "the provider answered HTTP 500");
    assert_eq!(failing["state"], "failing");
    look(&world, id).await;
    until(&world, id, "another", |l| l["failures"] == 1 && l["state"] == "failing").await;
    let refused = world
        .mine()
        .post(
            "/v1/triggers",
            &json!({ "system": "poll", "agent_id": world.agent,
            "options": { "url": "ftp://x", "interval_seconds": 5, "headers": { "Cookie": "a" } } }),
        )
        .await;
    let pointers: Vec<_> =
        refused.body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
    assert_eq!(pointers, ["/options/url", "/options/interval_seconds", "/options/headers/Cookie"]);
    let hook = world.open_trigger(json!({})).await;
    let none = world.mine().get(&format!("/v1/triggers/{hook}/listener")).await;
    assert_eq!(none.refusal(), (409, "no_listener"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_moves_when_its_replica_dies_and_what_that_one_still_finds_is_not_taken() {
    let world = World::start().await;
    let (shelf, stub) = Shelf::start().await;
    let id = poll(&world, &stub, json!({ "backfill": true })).await;
    let first = until(&world, id, "the first look", |l| !l["cursor"].is_null()).await;

    // As if the replica that holds it had died: nobody keeps its lease.
    run(&world, "update eventsvc.source_lease set owner = gen_random_uuid(), until_at = now() + interval '1 hour', due_at = now()").await;
    let other = ListenerWorker::new(&world.app);
    assert_eq!(other.look_all().await.unwrap(), 0, "it is held");
    shelf.put(1);
    run(&world, "update eventsvc.source_lease set until_at = now() - interval '1 second'").await;

    let moved = until(&world, id, "it to move", |l| l["found"] == 1).await;

    assert!(moved["epoch"].as_i64() > first["epoch"].as_i64());
    assert_eq!(payloads(&world).await, [json!({ "id": 1 })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_look_found_and_its_cursor_are_one_commit() {
    let world = World::start().await;
    let (shelf, stub) = Shelf::start().await;
    let id = poll(&world, &stub, json!({})).await;
    until(&world, id, "the first look", |l| !l["cursor"].is_null()).await;
    rest(&world, id).await;

    shelf.put(1);
    killed_before_its_commit(&world, id).await;

    until(&world, id, "it to be found", |l| l["found"] == 1).await;
    assert_eq!(payloads(&world).await, [json!({ "id": 1 })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_comes_home_after_its_lease_has_moved_brings_nothing() {
    let world = World::start().await;
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let (opened, things) = (Mutex::new(opened), Arc::<Mutex<Vec<Value>>>::default());
    let shelf = things.clone();
    let stub = Stub::start(move |request| {
        let held = request.header("x-held") == "yes";
        let found = json!({ "data": *shelf.lock().unwrap() });
        if held && shelf.lock().unwrap().len() == 1 {
            // What was found is on its way until the test lets it go.
            let _ = tokio::task::block_in_place(|| opened.lock().unwrap().recv());
        }
        Answer::Json(200, found)
    })
    .await;
    let id = poll(&world, &stub, json!({ "headers": { "X-Held": "yes" } })).await;
    until(&world, id, "the first look", |l| l["state"] == "waiting" && !l["cursor"].is_null())
        .await;

    things.lock().unwrap().push(json!({ "id": 1 }));
    look(&world, id).await;
    eventually("a look", async || (stub.requests().len() == 2).then_some(())).await;
    run(&world, "update eventsvc.source_lease set owner = gen_random_uuid(), epoch = epoch + 1, until_at = now() + interval '1 hour'").await;
    gate.send(()).unwrap();
    drop(gate);
    world.life.shutdown();
    world.life.wait(Duration::from_secs(30)).await.unwrap();

    assert_eq!(payloads(&world).await, Vec::<Value>::new());
    let seen = "select count(*) from eventsvc.source_cursor where position->'seen' = '[]'";
    assert_eq!(world.count(seen).await, 1, "and the cursor stays where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_text_can_hold_does_not_stop_a_listener() {
    let world = World::start().await;
    let body = r#"{"data":[{"id":"a\u0000b","text":"\u0000"},{"id":"c"}]}"#;
    let stub = Stub::start(move |_| Answer::Raw(200, Vec::new(), body.into())).await;

    let id = poll(&world, &stub, json!({ "backfill": true })).await;

    until(&world, id, "both", |l| l["found"] == 2).await;
    assert_eq!(payloads(&world).await[0], json!({ "id": "a\u{fffd}b", "text": "\u{fffd}" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_does_not_fire_however_much_it_is() {
    let world = World::start().await;
    let (shelf, stub) = Shelf::start().await;
    (0..1400).for_each(|id| shelf.put(id));
    let id = poll(&world, &stub, json!({})).await;
    rest(&world, id).await;

    shelf.put(2000);
    look(&world, id).await;
    until(&world, id, "the new one", |l| l["found"] == 1).await;

    rest(&world, id).await;
    assert_eq!(payloads(&world).await, [json!({ "id": 2000 })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_system_is_paused_a_listener_rests() {
    let world = World::start().await;
    let (shelf, stub) = Shelf::start().await;
    let id = poll(&world, &stub, json!({})).await;
    until(&world, id, "the first look", |l| l["state"] == "waiting" && !l["cursor"].is_null())
        .await;
    let switch = |paused: bool| json!({ "system": "poll", "paused": paused });
    let path = "/v1/triggers/systems";

    world.mine().put(path, &switch(true)).await.expect(200);
    shelf.put(1);
    look(&world, id).await;
    assert_eq!(ListenerWorker::new(&world.app).look_all().await.unwrap(), 0);
    let asked = stub.requests().len();
    world.mine().put(path, &switch(false)).await.expect(200);

    until(&world, id, "what came meanwhile", |l| l["found"] == 1).await;
    assert_eq!(asked, 1);
}
