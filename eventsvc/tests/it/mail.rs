//! Mailboxes of Gmail's: history, pushes that only ring the bell, cursors that have become too old.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};
use shared_models::TriggerId;
use testkit::{Api, GMAIL_TOKEN, Reply, eventually, eventually_within, push_token};

use crate::{
    harness::{PUSH_ACCOUNT, World},
    listening::{listener, look, payloads, rest, run, until},
    losses::PATIENCE,
};

pub(crate) async fn mailbox(world: &World, more: Value) -> TriggerId {
    let credential = world.credential(json!({ "access_token": GMAIL_TOKEN }));
    let mut body = json!({ "system": "gmail", "credential_id": credential });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = world.trigger(body).await.0;
    until(world, id, "the first look", |l| !l["cursor"].is_null()).await;
    id
}

pub(crate) fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs().cast_signed()
}

pub(crate) async fn push(world: &World, news: &Value) -> Reply {
    push_at(world, news, now()).await
}

/// The same, at a moment.
pub(crate) async fn push_at(world: &World, news: &Value, now: i64) -> Reply {
    let body =
        json!({ "message": { "data": STANDARD.encode(news.to_string()), "messageId": "1" } });
    let token = push_token("switchyard", PUSH_ACCOUNT, now, &json!({}));
    let api = Api::router(world.router.clone()).token(&token);
    api.raw(Method::POST, "/v1/hooks/gmail", body.to_string().into()).await
}

pub(crate) fn ids(payloads: &[Value]) -> Vec<&str> {
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

    eventually_within(PATIENCE, "all of them", async || {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_renewed_before_it_runs_out() {
    let world = World::start().await;
    let options =
        json!({ "options": { "topic": "projects/p/topics/t", "interval_seconds": 3600 } });
    let id = mailbox(&world, options).await;
    let before = rest(&world, id).await;
    look(&world, id).await;
    until(&world, id, "another look", |l| l["last_looked_at"] != before["last_looked_at"]).await;
    rest(&world, id).await;
    assert_eq!(world.gmail.watches(), 1, "it is good for another day");

    // A day later; Gmail itself forgets it after seven.
    run(
        &world,
        "update eventsvc.source_cursor set position = jsonb_set(position, '{watched_at}',
             to_jsonb((position->>'watched_at')::timestamptz - interval '25 hours'))",
    )
    .await;
    look(&world, id).await;
    eventually("the watch to be renewed", async || (world.gmail.watches() == 2).then_some(()))
        .await;
    let renewed = until(&world, id, "its date", |l| l["renew_at"] != before["renew_at"]).await;

    assert!(renewed["renew_at"].as_str() > before["renew_at"].as_str());
}
