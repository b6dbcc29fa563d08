//! The intake contract, line by line.

use http::Method;
use serde_json::json;
use testkit::{Api, eventually};

use crate::harness::{World, signed};

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_delivery_is_stored_answered_and_published() {
    let world = World::start().await;
    let (hook, secret) = world.trigger(json!({})).await;

    let accepted = world.deliver(hook, &secret, "msg_1", r#"{"n":1}"#).await.expect(202);

    assert_eq!(accepted["status"], "accepted");
    assert_eq!(accepted["outcome"], "fired");
    let fired = world.engine().await.take(1).await.remove(0).data;
    assert_eq!(accepted["event_ids"], json!([fired.event_id]));
    assert_eq!(accepted["delivery_id"], json!(fired.delivery_id));
    assert_eq!(
        (fired.trigger_id, fired.agent_id, fired.owner, fired.attempt),
        (hook, Some(world.agent), world.owner.user, 1)
    );
    assert_eq!(fired.payload, Some(json!({ "n": 1 })));
    assert_eq!(fired.dedupe_key.as_deref(), Some("msg_1"));
    assert_eq!(fired.system, "webhook");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_delivery_is_a_duplicate_and_fires_nothing() {
    let world = World::start().await;
    let (hook, secret) = world.trigger(json!({})).await;
    world.deliver(hook, &secret, "msg_1", "{}").await.expect(202);

    let again = world.deliver(hook, &secret, "msg_1", "{}").await;

    assert_eq!((again.status, again.text.as_str()), (200, r#"{"status":"duplicate"}"#));
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 1);
    assert_eq!(world.count("select count(*) from eventsvc.outbox").await, 1);
    world.status_of(hook, "the duplicate to be counted", |status| status["duplicate"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_identical_deliveries_at_once_make_one() {
    let world = World::start().await;
    let (hook, secret) = world.trigger(json!({})).await;

    let replies = futures::future::join_all(
        (0..64).map(|_| world.deliver(hook, &secret, "msg_1", r#"{"n":1}"#)),
    )
    .await;

    let accepted = replies.iter().filter(|reply| reply.status == 202).count();
    let duplicates = replies.iter().filter(|reply| reply.body["status"] == "duplicate").count();
    assert_eq!((accepted, duplicates), (1, 63));
    assert_eq!(world.count("select count(*) from eventsvc.firing").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_is_refused_counted_and_not_stored() {
    let world = World::start().await;
    let (hook, secret) = world.trigger(json!({})).await;
    let path = format!("/v1/hooks/{hook}");

    let api = Api::router(world.router.clone());
    let other_body =
        signed(api.clone(), &secret, "msg_1", "{}").post(&path, &json!({ "n": 2 })).await;
    let unsigned = api.post(&path, &json!({})).await;

    assert_eq!(other_body.refusal(), (401, "bad_signature"));
    assert_eq!(unsigned.refusal(), (401, "bad_signature"));
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 0);
    world.status_of(hook, "refusals to be counted", |status| status["refused"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_hook_is_404_whatever_its_id_looks_like() {
    let world = World::start().await;

    for hook in [
        "trg_00000000000000000000000000000000",
        "src_00000000000000000000000000000000",
        "x",
        "agt_1",
    ] {
        assert_eq!(world.send(hook, &json!({})).await.refusal(), (404, "not_found"), "{hook}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_hooks_cap_is_413() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "options": { "max_body_bytes": 10 } })).await;
    let large = world.open_trigger(json!({ "options": { "max_body_bytes": 10_485_760 } })).await;

    assert_eq!(world.send(hook, &json!("123456789")).await.refusal(), (413, "payload_too_large"));
    world.send(hook, &json!("12345678")).await.expect(202);
    world.send(large, &json!("x".repeat(4_000_000))).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_json_is_400_and_names_the_place() {
    let world = World::start().await;
    let (hook, secret) = world.trigger(json!({})).await;

    let refused = world.deliver(hook, &secret, "msg_1", "{\n  \"a\": }").await;

    assert_eq!(refused.refusal(), (400, "malformed_json"));
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("line 2, column 8"), "{detail}");
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_in_the_payload_is_422_and_names_the_field() {
    let world = World::start().await;
    let (hook, secret) = world.trigger(json!({})).await;

    let refused = world.deliver(hook, &secret, "msg_1", r#"{"a":["b\u0000"]}"#).await;

    assert_eq!(refused.refusal(), (422, "validation_failed"));
    assert_eq!(refused.body["errors"][0]["pointer"], "/a/0");
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_text_are_taken_and_pictures_are_not() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let send = async |kind: &str, body: &str| {
        let api = Api::router(world.router.clone()).header("content-type", kind);
        api.raw(Method::POST, &format!("/v1/hooks/{hook}"), body.into()).await
    };

    send("application/x-www-form-urlencoded", "a=1&b=2").await.expect(202);
    send("text/plain", "hello").await.expect(202);
    let refused = send("image/png", "x").await;

    assert_eq!(refused.refusal(), (415, "unsupported_media_type"));
    let fired = world.engine().await.take(2).await;
    let payloads: Vec<_> = fired.into_iter().filter_map(|event| event.data.payload).collect();
    assert!(payloads.contains(&json!({ "a": "1", "b": "2" })), "{payloads:?}");
    assert!(payloads.contains(&json!("hello")), "{payloads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_trigger_records_what_it_skipped() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "active": false })).await;

    let accepted = world.send(hook, &json!({})).await.expect(202);

    assert_eq!((&accepted["outcome"], &accepted["event_ids"]), (&json!("skipped"), &json!([])));
    let delivery = world.delivery(&accepted).await;
    assert_eq!(delivery["status"], "skipped");
    assert_eq!(delivery["reason_class"], "inactive");
    assert_eq!(world.count("select count(*) from eventsvc.outbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_turns_away_what_does_not_fit_and_its_errors_are_recorded() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "filter": "payload.kind == 'push'" })).await;

    let passed = world.send(hook, &json!({ "kind": "push" })).await.expect(202);
    let filtered = world.send(hook, &json!({ "kind": "star" })).await.expect(202);
    let failed = world.send(hook, &json!({ "other": "s3cret" })).await.expect(202);

    assert_eq!(passed["outcome"], "fired");
    assert_eq!(world.delivery(&filtered).await["reason_class"], "unmatched");
    let failed = world.delivery(&failed).await;
    assert_eq!((&failed["status"], &failed["reason_class"]), (&json!("failed"), &json!("filter")));
    assert_eq!(failed["reason"], "there is no `kind`");
    world
        .status_of(hook, "all three to be counted", |status| {
            status["fired"] == 1 && status["filtered"] == 1 && status["failed"] == 1
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_payload_stays_here_and_is_fetched_by_the_engine() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let payload = json!({ "text": "x".repeat(300_000) });

    world.send(hook, &payload).await.expect(202);

    let fired = world.engine().await.take(1).await.remove(0).data;
    assert_eq!((fired.payload, fired.payload_in), (None, Some(fired.delivery_id)));
    let token = testkit::Trust::new().service_token(
        shared_models::Service::Engine,
        shared_models::Service::Eventsvc,
        world.owner.tenant,
        "run",
        None,
    );
    let api = Api::router(world.router.clone()).token(&token);
    let path = format!("/internal/deliveries/{}/payload", fired.delivery_id);
    assert_eq!(api.get(&path).await.expect(200), payload);
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_authorization_are_never_stored() {
    let world = World::start().await;
    let (hook, secret) = world.trigger(json!({})).await;
    let api = signed(Api::router(world.router.clone()), &secret, "msg_1", "{}")
        .header("authorization", "Bearer hush-hush")
        .header("cookie", "hush-hush")
        .header("x-github-event", "push");

    api.post(&format!("/v1/hooks/{hook}"), &json!({})).await.expect(202);

    let dump = world.db.dump().await;
    assert!(dump.contains("x-github-event"));
    for hidden in ["hush-hush", "webhook-signature", &secret] {
        assert!(!dump.contains(hidden), "{hidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_vault_nothing_is_verified_and_the_provider_shall_come_again() {
    let world = World::start().await;
    let (hook, secret) = world.trigger(json!({})).await;
    world.vault.lock().unwrap().down = true;

    let refused = world.deliver(hook, &secret, "msg_1", "{}").await;

    assert_eq!(refused.refusal(), (503, "credential_unavailable"));
    assert!(refused.header("retry-after").is_some());
    world.vault.lock().unwrap().down = false;
    world.deliver(hook, &secret, "msg_1", "{}").await.expect(202);
    world.vault.lock().unwrap().down = true;
    world.deliver(hook, &secret, "msg_2", "{}").await.expect(202);
    let asked = world.credsvc.requests();
    let asked = asked.iter().filter(|request| request.path.ends_with("/resolve")).count();
    assert_eq!(asked, 2, "the secret is asked for once and kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_503_at_once_and_loses_nothing_that_was_accepted() {
    let world = World::with(eventsvc::Limits { queue: 1, ..eventsvc::Limits::default() }).await;
    let hook = world.open_trigger(json!({})).await;

    let sent: Vec<_> = (0..200).map(|n| json!({ "n": n })).collect();
    let replies = futures::future::join_all(sent.iter().map(|body| world.send(hook, body))).await;

    let busy: Vec<_> = replies.iter().filter(|reply| reply.status == 503).collect();
    let accepted = replies.iter().filter(|reply| reply.status == 202).count() as i64;
    assert!(!busy.is_empty());
    assert!(
        busy.iter()
            .all(|reply| reply.code() == "intake_busy" && reply.header("retry-after").is_some())
    );
    assert_eq!(accepted + busy.len() as i64, 200);
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_a_published_event() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let mut admin = world.db.admin().await;
    // The insert waits for this lock, so the handler is surely dropped before its commit.
    sqlx::raw_sql("begin; lock table eventsvc.delivery in access exclusive mode")
        .execute(&mut admin)
        .await
        .unwrap();

    let (path, body) = (format!("/v1/hooks/{hook}"), json!({ "n": 1 }));
    let api = Api::router(world.router.clone());
    {
        let request = std::pin::pin!(api.post(&path, &body));
        let blocked = eventually("the insert to wait", async || {
            let mut other = world.db.admin().await;
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where application_name = 'eventsvc-committer'
                 and datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(&mut other)
            .await
            .unwrap();
            (waiting == 1).then_some(())
        });
        let blocked = std::pin::pin!(blocked);
        let first = futures::future::select(request, blocked).await;
        assert!(matches!(first, futures::future::Either::Right(_)), "the request was answered");
    }
    sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();

    let fired = world.engine().await.take(1).await;
    assert_eq!(fired[0].data.payload, Some(json!({ "n": 1 })));
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 1);
}
