//! Mailboxes anywhere, read over IMAP.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use eventsvc::Limits;
use serde_json::{Value, json};
use shared_models::{AgentId, TriggerId};
use testkit::{IMAP_PASSWORD, IMAP_USER, Imap, Trust, eventually};

use crate::{
    harness::World,
    listening::{listener, look, payloads, until},
    timers::now,
};

fn mail(n: usize) -> Vec<u8> {
    format!(
        "From: Ann <ann@example.com>\r\nTo: bob@example.com\r\nSubject: number {n}\r\n\
         Message-ID: <{n}@example.com>\r\n\r\nthe text of {n}\r\n"
    )
    .into_bytes()
}

async fn mailbox(world: &World, imap: &Imap, more: Value) -> TriggerId {
    let credential = world.credential(json!({ "username": IMAP_USER, "password": IMAP_PASSWORD }));
    let options = json!({ "host": "127.0.0.1", "port": imap.port(), "interval_seconds": 3600 });
    let mut body = json!({ "system": "imap", "credential_id": credential, "options": options });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.trigger(body).await.0
}

async fn began(world: &World, id: TriggerId) {
    until(world, id, "the first look", |l| !l["cursor"].is_null()).await;
}

fn subjects(payloads: &[Value]) -> Vec<&str> {
    payloads.iter().map(|mail| mail["subject"].as_str().unwrap_or("?")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_mail_fires_once_in_order_and_what_was_there_does_not() {
    let (world, imap) = (World::start().await, Imap::start().await);
    imap.receive(now(), &mail(0));
    let id = mailbox(&world, &imap, json!({})).await;
    began(&world, id).await;

    // More than are read in one look.
    for n in 1..=45 {
        imap.receive(now(), &mail(n));
    }
    look(&world, id).await;
    let after =
        until(&world, id, "all of it", |l| l["found"] == 45 && l["state"] == "waiting").await;
    look(&world, id).await;
    let sessions = imap.sessions();
    eventually("one more look", async || (imap.sessions() > sessions).then_some(())).await;

    let found = payloads(&world).await;
    let expected: Vec<String> = (1..=45).map(|n| format!("number {n}")).collect();
    assert_eq!(subjects(&found), expected);
    assert_eq!(found[0]["from"], json!({ "name": "Ann", "address": "ann@example.com" }));
    assert_eq!(found[0]["text"], "the text of 1\r\n");
    assert_eq!(
        (&after["cursor"]["uid"], &after["cursor"]["uid_validity"]),
        (&json!(46), &json!(1))
    );
    assert_eq!(world.engine().await.take(45).await[0].data.system, "imap");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_numbered_anew_neither_misses_nor_repeats() {
    let (world, imap) = (World::start().await, Imap::start().await);
    let id = mailbox(&world, &imap, json!({})).await;
    began(&world, id).await;
    for n in 1..=3 {
        imap.receive(now(), &mail(n));
    }
    look(&world, id).await;
    until(&world, id, "the first three", |l| l["found"] == 3).await;

    imap.receive(now(), &mail(4));
    imap.renumber();
    imap.receive(now(), &mail(5));
    look(&world, id).await;
    until(&world, id, "the other two", |l| l["found"] == 5).await;

    let found = payloads(&world).await;
    let mut subjects = subjects(&found);
    subjects.sort_unstable();
    assert_eq!(subjects, ["number 1", "number 2", "number 3", "number 4", "number 5"]);
    let recoveries = world.mine().get(&format!("/v1/triggers/{id}/recoveries")).await.expect(200);
    let note = recoveries["items"][0]["note"].as_str().unwrap();
    assert!(note.contains("numbered anew") && note.contains("recovered"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alike_but_not_the_same_is_not_a_repetition() {
    let (world, imap) = (World::start().await, Imap::start().await);
    let id = mailbox(&world, &imap, json!({})).await;
    began(&world, id).await;
    let at = now();

    // No id, one size, one second.
    imap.receive(at, b"Subject: alert\r\n\r\ndoor 1\r\n");
    imap.receive(at, b"Subject: alert\r\n\r\ndoor 2\r\n");
    look(&world, id).await;

    until(&world, id, "both", |l| l["found"] == 2).await;
    let texts: Vec<Value> =
        payloads(&world).await.into_iter().map(|mail| mail["text"].clone()).collect();
    assert_eq!(texts, ["door 1\r\n", "door 2\r\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_mail_fires_as_what_can_be_read_of_it() {
    let (world, imap) = (World::start().await, Imap::start().await);
    let id = mailbox(&world, &imap, json!({})).await;
    began(&world, id).await;
    let old: DateTime<Utc> = "1970-01-01T00:00:00Z".parse().unwrap();

    imap.receive(old, b"Subject: a\0b\r\n\r\n\0\0\r\n* 9 FETCH (UID 9)\r\na4 OK done\r\n");
    imap.receive(old, b"");
    imap.receive(old, &[0xff; 3000]);
    imap.receive(old, &"Content-Type: message/rfc822\r\n\r\n".repeat(5000).into_bytes());
    let mut large = mail(1);
    large.resize(400 * 1024, b'x');
    imap.receive(old, &large);
    look(&world, id).await;

    until(&world, id, "all of it", |l| l["found"] == 5).await;
    let found = payloads(&world).await;
    assert_eq!(found[0]["subject"], "a\u{fffd}b");
    assert_eq!(found.iter().filter(|mail| mail["truncated"] == true).count(), 1);
    assert_eq!(world.engine().await.take(5).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_or_talks_nonsense_is_told_of_and_nothing_is_lost() {
    let (world, imap) = (World::start().await, Imap::start().await);
    let id = mailbox(&world, &imap, json!({})).await;
    began(&world, id).await;
    imap.receive(now(), &mail(1));

    imap.talk(Some(b"* 1 FETCH (UID 2 BODY[]<0> {99999999}\r\n"));
    look(&world, id).await;
    let failing = until(&world, id, "nonsense", |l| l["failures"] == 1).await;
    assert_eq!(failing["last_error"], "the server says more than can be taken in");
    imap.talk(None);
    imap.refuse(true);
    look(&world, id).await;
    let why = "the credential is refused: the mail server does not take it";
    until(&world, id, "a refusal", |l| l["last_error"] == why).await;
    assert!(!listener(&world, id).await.to_string().contains(IMAP_PASSWORD));
    imap.refuse(false);
    look(&world, id).await;

    until(&world, id, "the mail", |l| l["found"] == 1 && l["failures"] == 0).await;
    let body = json!({ "system": "imap", "agent_id": world.agent,
        "options": { "host": "a/b", "port": 0, "mailbox": "\n", "interval_seconds": 1 } });
    let refused = world.mine().post("/v1/triggers", &body).await;
    let pointers: Vec<_> =
        refused.body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
    assert_eq!(
        pointers,
        ["/options/host", "/options/port", "/options/mailbox", "/options/interval_seconds"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_at_an_address_that_may_not_be_reached_is_not_connected_to() {
    let (world, imap) = (World::start().await, Imap::start().await);
    let credential = world.credential(json!({ "username": IMAP_USER, "password": IMAP_PASSWORD }));
    let options = json!({ "host": "127.0.0.2", "port": imap.port() });
    let body = json!({ "system": "imap", "credential_id": credential, "options": options });

    let (id, _) = world.trigger(body).await;

    let failing = until(&world, id, "a refusal", |l| l["failures"] == 1).await;
    assert_eq!(failing["last_error"], "127.0.0.2 is not a public address");
    assert_eq!(imap.sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_mail_than_one_answer_can_name_is_read_window_by_window() {
    let (world, imap) = (World::start().await, Imap::start().await);
    // Numbers of seven digits, and after the first look a gap wider than a window.
    imap.leap(1_000_000);
    imap.receive(now(), &mail(0));
    let id = mailbox(&world, &imap, json!({})).await;
    began(&world, id).await;
    imap.leap(2_000_000);
    for n in 1..=70_000 {
        imap.receive(now(), &mail(n));
    }

    look(&world, id).await;
    let after = until(&world, id, "the first of it", |l| l["found"].as_i64() >= Some(60)).await;

    assert_eq!(after["failures"], 0, "{after}");
    let path = format!("/v1/triggers/{id}");
    world.mine().patch(&path, &json!({ "active": false })).await.expect(200);
    let found = payloads(&world).await;
    let first: Vec<String> = (1..=60).map(|n| format!("number {n}")).collect();
    assert_eq!(subjects(&found)[..60], first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_mailbox_that_is_numbered_anew_is_listed_from_its_end() {
    let (world, imap) = (World::start().await, Imap::start().await);
    let old = now() - chrono::Duration::days(30);
    for n in 0..90_000 {
        imap.receive(old, &mail(n));
    }
    let id = mailbox(&world, &imap, json!({})).await;
    began(&world, id).await;
    for n in 0..3 {
        imap.receive(now(), &mail(100_000 + n));
    }
    imap.renumber();

    look(&world, id).await;
    until(&world, id, "the three", |l| l["found"] == 3).await;
    let found = payloads(&world).await;
    assert_eq!(subjects(&found), ["number 100000", "number 100001", "number 100002"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_says_at_once_that_there_is_mail() {
    let (world, imap) = (World::start().await, Imap::start().await);
    imap.allow_idle();
    // It looks by itself once an hour.
    let id = mailbox(&world, &imap, json!({})).await;
    began(&world, id).await;

    eventually("somebody to idle", async || (imap.idling() == 1).then_some(())).await;
    imap.receive(now(), &mail(1));
    until(&world, id, "the first", |l| l["found"] == 1).await;
    imap.receive(now(), &mail(2));
    imap.receive(now(), &mail(3));
    until(&world, id, "the others", |l| l["found"] == 3).await;

    // Who does not want that, or reads no more, keeps no connection.
    let path = format!("/v1/triggers/{id}");
    let patch = json!({ "options": { "idle": false } });
    world.mine().patch(&path, &patch).await.expect(200);
    eventually("nobody to idle", async || (imap.idling() == 0).then_some(())).await;
    world.mine().patch(&path, &json!({ "options": { "idle": null } })).await.expect(200);
    eventually("somebody to idle again", async || (imap.idling() == 1).then_some(())).await;
    world.mine().delete(&path).await.expect(204);
    eventually("nobody to idle any more", async || (imap.idling() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_rings_all_the_time_is_not_looked_at_all_the_time() {
    let (world, imap) = (World::start().await, Imap::start().await);
    imap.allow_idle();
    imap.make_noise();
    let began = Instant::now();
    mailbox(&world, &imap, json!({})).await;

    // One that idles, the first look, and those of two rings at least.
    eventually("two rings", async || (imap.sessions() >= 4).then_some(())).await;

    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn mailboxes_of_one_tenant_leave_room_to_idle_at_those_of_another() {
    let world = World::with(Limits { idle_connections: 2, ..Limits::default() }).await;
    let (imap, other) = (Imap::start().await, Imap::start().await);
    imap.allow_idle();
    other.allow_idle();
    for name in ["INBOX", "Archive"] {
        let options = json!({ "host": "127.0.0.1", "port": imap.port(), "mailbox": name });
        mailbox(&world, &imap, json!({ "options": options })).await;
    }
    eventually("two to idle", async || (imap.idling() == 2).then_some(())).await;

    let (stranger, agent) = (Trust::new().owner(), AgentId::mint());
    world.show_agent(agent, &stranger, "user");
    let credential = world.credential(json!({ "username": IMAP_USER, "password": IMAP_PASSWORD }));
    let body = json!({ "system": "imap", "agent_id": agent, "credential_id": credential,
        "options": { "host": "127.0.0.1", "port": other.port() } });
    world.api(&stranger).post("/v1/triggers", &body).await.expect(201);

    eventually("one of each", async || ((imap.idling(), other.idling()) == (1, 1)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_server_may_hang_up_idling_begins_anew_on_the_same_connection() {
    let world = World::with(Limits { idle_seconds: 1, ..Limits::default() }).await;
    let imap = Imap::start().await;
    imap.allow_idle();
    let id = mailbox(&world, &imap, json!({})).await;
    began(&world, id).await;

    let idled = eventually("idling begun anew", async || {
        let idled = imap.idled();
        (idled.len() >= 4).then_some(idled)
    })
    .await;

    assert!(idled.iter().all(|session| *session == idled[0]), "{idled:?}");
    // What comes then is heard of as before; by itself it looks once an hour.
    imap.receive(now(), &mail(1));
    until(&world, id, "the mail", |l| l["found"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_idle_leaves_its_room_to_one_that_can() {
    let world = World::with(Limits { idle_connections: 1, ..Limits::default() }).await;
    let (cannot, can) = (Imap::start().await, Imap::start().await);
    can.allow_idle();
    // The first that was made is the first to have the room.
    let first = mailbox(&world, &cannot, json!({})).await;
    began(&world, first).await;
    mailbox(&world, &can, json!({})).await;

    eventually("the other to be idled at", async || (can.idling() == 1).then_some(())).await;

    // An edit may lead to a server that can: it is tried at once, and has its room back.
    cannot.allow_idle();
    let patch = json!({ "options": { "interval_seconds": 3000 } });
    world.mine().patch(&format!("/v1/triggers/{first}"), &patch).await.expect(200);
    eventually("the first to be idled at", async || {
        ((cannot.idling(), can.idling()) == (1, 0)).then_some(())
    })
    .await;
}
