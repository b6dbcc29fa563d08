//! Listeners that go and look: shared, moved, edited, fenced; documents, feeds and mailboxes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eventsvc::ListenerWorker;
use http::Method;
use serde_json::{Value, json};
use shared_models::TriggerId;
use sqlx::AssertSqlSafe;
use testkit::{Answer, Api, GMAIL_TOKEN, Reply, Stub, eventually, push_token};

use crate::harness::{PUSH_ACCOUNT, World};

async fn run(world: &World, sql: &str) {
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

async fn listener(world: &World, id: TriggerId) -> Value {
    world.mine().get(&format!("/v1/triggers/{id}/listener")).await.expect(200)
}

async fn look(world: &World, id: TriggerId) {
    let path = format!("/v1/triggers/{id}/listener/look");
    assert_eq!(world.mine().post(&path, &json!({})).await.status, 202);
}

/// Waits until a look has come this far.
async fn until(world: &World, id: TriggerId, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let listener = listener(world, id).await;
        done(&listener).then_some(listener)
    })
    .await
}

async fn payloads(world: &World) -> Vec<Value> {
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
    run(&world, "update eventsvc.source_lease set until_at = now() - interval '1 second'").await;
    shelf.put(1);

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
    run(&world, "create function eventsvc.broken() returns trigger language plpgsql as $$ begin raise 'killed'; end $$;
        create trigger broken before update on eventsvc.source_cursor for each row execute function eventsvc.broken()").await;

    shelf.put(1);
    look(&world, id).await;
    eventually("looks that cannot be committed", async || {
        (stub.requests().len() > 1).then_some(())
    })
    .await;
    assert_eq!(payloads(&world).await, Vec::<Value>::new());
    run(
        &world,
        "drop trigger broken on eventsvc.source_cursor;
        update eventsvc.source_lease set until_at = now() - interval '1 second', due_at = now()",
    )
    .await;

    until(&world, id, "it to be found", |l| l["found"] == 1).await;
    assert_eq!(payloads(&world).await, [json!({ "id": 1 })]);
}

async fn mailbox(world: &World, more: Value) -> TriggerId {
    let credential = world.credential(json!({ "access_token": GMAIL_TOKEN }));
    let mut body = json!({ "system": "gmail", "credential_id": credential });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = world.trigger(body).await.0;
    until(world, id, "the first look", |l| !l["cursor"].is_null()).await;
    id
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs().cast_signed()
}

async fn push(world: &World, news: &Value) -> Reply {
    let body =
        json!({ "message": { "data": STANDARD.encode(news.to_string()), "messageId": "1" } });
    let token = push_token("switchyard", PUSH_ACCOUNT, now(), &json!({}));
    let api = Api::router(world.router.clone()).token(&token);
    api.raw(Method::POST, "/v1/hooks/gmail", body.to_string().into()).await
}

fn ids(payloads: &[Value]) -> Vec<&str> {
    payloads.iter().map(|message| message["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_read_from_the_history_and_a_push_only_rings_the_bell() {
    let world = World::start().await;
    world.gmail.receive("old", "INBOX", 0);
    let id = mailbox(
        &world,
        json!({ "options": { "topic": "projects/p/topics/t", "interval_seconds": 3600 } }),
    )
    .await;
    assert_eq!(world.gmail.watches(), 1);

    let news = world.gmail.receive("m1", "INBOX", now() * 1000);
    world.gmail.receive("m2", "SENT", now() * 1000);
    world.gmail.receive("m3", "INBOX", now() * 1000);
    world.gmail.receive("m4", "INBOX", now() * 1000);
    world.gmail.remove("m4");
    assert_eq!(push(&world, &news).await.expect(200), json!({ "status": "noted" }));
    push(&world, &news).await.expect(200);

    let listener = until(&world, id, "two messages", |l| l["found"] == 2).await;
    assert_eq!(
        ids(&payloads(&world).await),
        ["m1", "m3"],
        "in order, with the label, and still there"
    );
    assert_eq!(
        (&listener["recovered"], &listener["cursor"]["email"]),
        (&json!(0), &json!("ann@example.com"))
    );
    assert!(!listener["renew_at"].is_null());
    let stranger = json!({ "emailAddress": "bob@example.com", "historyId": "1" });
    push(&world, &stranger).await.expect(200);
    let forged = Api::router(world.router.clone()).token("a.b.c");
    let forged = forged.raw(Method::POST, "/v1/hooks/gmail", b"{}".to_vec()).await;
    assert_eq!(forged.refusal(), (401, "bad_signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_too_old_leads_to_a_resync_that_neither_misses_nor_repeats() {
    let world = World::start().await;
    let id = mailbox(&world, json!({})).await;
    world.gmail.receive("m1", "INBOX", now() * 1000);
    look(&world, id).await;
    until(&world, id, "the first", |l| l["found"] == 1).await;

    for n in 2..=6 {
        world.gmail.receive(&format!("m{n}"), "INBOX", now() * 1000);
    }
    world.gmail.forget_history();
    world.gmail.receive("m7", "INBOX", now() * 1000);
    look(&world, id).await;

    let listener = until(&world, id, "all of them", |l| l["found"] == 7).await;
    let mut found = payloads(&world).await;
    found.sort_by_key(|message| message["id"].to_string());
    assert_eq!(ids(&found), ["m1", "m2", "m3", "m4", "m5", "m6", "m7"]);
    assert!(listener["note"].as_str().unwrap().contains("the history had become too old"));
    assert!(listener["recovered"].as_i64().unwrap() >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_pushes_and_answers_each_message_fires_once() {
    let world = World::start().await;
    let id = mailbox(
        &world,
        json!({ "options": { "topic": "projects/p/topics/t", "interval_seconds": 3600 } }),
    )
    .await;
    // Some pushes are lost, some come twice, and they come in another order; in between Gmail fails and limits.
    let mut pushes = Vec::new();
    for n in 0..40 {
        let news = world.gmail.receive(&format!("m{n:02}"), "INBOX", now() * 1000);
        match n % 20 {
            3 => {}
            4 | 9 => pushes.extend([news.clone(), news]),
            _ => pushes.push(news),
        }
        if n % 5 == 4 {
            pushes.rotate_left(2);
            for news in pushes.drain(..) {
                push(&world, &news).await.expect(200);
            }
            world.gmail.fail_with(if n % 10 == 4 { &[500, 429] } else { &[503] });
        }
    }
    look(&world, id).await;

    eventually("all of them", async || {
        run(&world, "update eventsvc.source_lease set due_at = least(due_at, now()) where looking_since is null").await;
        (listener(&world, id).await["found"] == 40).then_some(())
    })
    .await;
    let found = payloads(&world).await;
    let different: BTreeSet<_> = ids(&found).into_iter().collect();
    assert_eq!((found.len(), different.len()), (40, 40));
    let fired = world.engine().await.take(40).await;
    let events: BTreeSet<_> = fired.iter().map(|event| event.data.event_id.to_string()).collect();
    assert_eq!(events.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_refused_is_said_and_nothing_is_lost() {
    let world = World::start().await;
    let credential = world.credential(json!({ "access_token": "expired" }));
    let (id, _) = world.trigger(json!({ "system": "gmail", "credential_id": credential })).await;

    let failing = until(&world, id, "a failure", |l| l["failures"] == 1).await;

    let why = "the credential is refused: the provider answered HTTP 401";
    assert_eq!(failing["last_error"], why);
    assert!(!failing.to_string().contains("expired"));
    let missing = json!({ "system": "gmail", "agent_id": world.agent });
    let missing = world.mine().post("/v1/triggers", &missing).await;
    assert_eq!(missing.body["errors"][0]["pointer"], "/credential_id");
}
