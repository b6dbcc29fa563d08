//! What a trigger's options can make of its hook.

use http::Method;
use serde_json::json;
use testkit::Api;

use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_with_an_hmac_of_the_providers_making_is_verified() {
    let world = World::start().await;
    let options = json!({
        "verify": { "scheme": "hmac", "header": "X-Hub-Signature-256", "prefix": "sha256=" },
        "dedupe": { "header": "X-GitHub-Delivery" },
    });
    let credential = shared_models::CredentialId::mint();
    world
        .vault
        .lock()
        .unwrap()
        .credentials
        .insert(credential.to_string(), json!({ "secret": "It's a Secret to Everybody" }));
    let (hook, shown) =
        world.trigger(json!({ "options": options, "credential_id": credential })).await;
    assert_eq!(shown, "", "a credential of one's own is never shown");

    let api = Api::router(world.router.clone())
        .header("content-type", "text/plain")
        .header(
            "x-hub-signature-256",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        )
        .header("x-github-delivery", "d1");
    let send =
        async |body: &str| api.raw(Method::POST, &format!("/v1/hooks/{hook}"), body.into()).await;

    send("Hello, World!").await.expect(202);
    assert_eq!(send("Hello, World!").await.expect(200), json!({ "status": "duplicate" }));
    assert_eq!(send("Hello, World?").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_the_payload_can_tell_repetitions() {
    let world = World::start().await;
    let hook =
        world.open_trigger(json!({ "options": { "dedupe": { "json_pointer": "/id" } } })).await;

    world.send(hook, &json!({ "id": 7, "n": 1 })).await.expect(202);
    world.send(hook, &json!({ "id": 7, "n": 2 })).await.expect(200);
    world.send(hook, &json!({ "id": 8 })).await.expect(202);
    world.send(hook, &json!({ "none": 1 })).await.expect(202);
    world.send(hook, &json!({ "none": 1 })).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_body_within_the_window_is_a_repetition_only_when_asked_for() {
    let world = World::start().await;
    let options = json!({ "dedupe": { "body_hash": true, "window_seconds": 3600 } });
    let hashed = world.open_trigger(json!({ "options": options })).await;
    let plain = world.open_trigger(json!({})).await;

    world.send(hashed, &json!({ "n": 1 })).await.expect(202);
    world.send(hashed, &json!({ "n": 1 })).await.expect(200);
    world.send(hashed, &json!({ "n": 2 })).await.expect(202);
    world.send(plain, &json!({ "n": 1 })).await.expect(202);
    world.send(plain, &json!({ "n": 1 })).await.expect(202);

    // Half a window ago counts, although it belongs to another stretch; an older one does not.
    let shift = |by: &str| {
        format!(
            "update eventsvc.delivery set received_at = received_at - interval '{by}',
                dedupe_key = regexp_replace(dedupe_key, '[0-9]+$', '')
                    || (split_part(dedupe_key, ':', 3)::bigint - 1)
             where dedupe_key like 'body:%' and received_at > now() - interval '10 minutes'"
        )
    };
    let mut admin = world.db.admin().await;
    sqlx::query(sqlx::AssertSqlSafe(shift("30 minutes"))).execute(&mut admin).await.unwrap();
    world.send(hashed, &json!({ "n": 1 })).await.expect(200);
    sqlx::query("update eventsvc.delivery set received_at = received_at - interval '2 hours'")
        .execute(&mut admin)
        .await
        .unwrap();
    world.send(hashed, &json!({ "n": 1 })).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_are_echoed_and_not_recorded() {
    let world = World::start().await;
    let in_body = world
        .open_trigger(json!({ "options": { "challenge": { "json_pointer": "/challenge" } } }))
        .await;
    let in_query = world
        .open_trigger(json!({ "options": { "challenge": { "query": "validationToken" } } }))
        .await;

    let body = json!({ "type": "url_verification", "challenge": "abc" });
    let echoed = world.send(in_body, &body).await.expect(200);
    let text = world.send(format!("{in_query}?validationToken=a%20b"), &json!({})).await;

    assert_eq!(echoed, json!({ "challenge": "abc" }));
    assert_eq!((text.status, text.text.as_str()), (200, "a b"));
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 0);
    world.send(in_body, &json!({ "n": 1 })).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_replaced_is_fetched_again_when_a_signature_does_not_match() {
    let world = World::start().await;
    let options = json!({ "verify": { "scheme": "bearer" } });
    let credential = shared_models::CredentialId::mint().to_string();
    let set = |secret: &str| {
        let mut vault = world.vault.lock().unwrap();
        vault.credentials.insert(credential.clone(), json!({ "token": secret }));
    };
    set("old");
    let (hook, _) = world.trigger(json!({ "options": options, "credential_id": credential })).await;
    let send = async |token: &str| {
        let api = Api::router(world.router.clone()).token(token);
        api.post(&format!("/v1/hooks/{hook}"), &json!({})).await.status
    };
    assert_eq!(send("old").await, 202);

    set("new");

    testkit::eventually("the new secret to be known", async || {
        (send("new").await == 202).then_some(())
    })
    .await;
    assert_eq!(send("old").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_of_one_person_with_the_same_credential_and_options_share_a_source() {
    let world = World::start().await;
    let credential = shared_models::CredentialId::mint().to_string();
    world.vault.lock().unwrap().credentials.insert(credential.clone(), json!({ "secret": "t" }));
    let options = json!({ "verify": { "scheme": "bearer" } });
    let make = |filter: Option<&str>| {
        let body = json!({ "options": options, "credential_id": credential, "filter": filter });
        world.trigger(body)
    };
    let (first, _) = make(None).await;
    let (second, _) = make(Some("payload.n > 1")).await;
    let source = |id| {
        let api = world.mine();
        async move { api.get(&format!("/triggers/{id}")).await.expect(200)["source_id"].clone() }
    };
    let source_id = source(first).await;
    assert_eq!(source_id, source(second).await);

    let api = Api::router(world.router.clone()).token("t");
    let path = format!("/v1/hooks/{}", source_id.as_str().unwrap());
    let both = api.post(&path, &json!({ "n": 2 })).await.expect(202);
    let one = api.post(&path, &json!({ "n": 1 })).await.expect(202);

    assert_eq!(both["event_ids"].as_array().unwrap().len(), 2);
    assert_eq!(one["event_ids"].as_array().unwrap().len(), 1);
    let delivery = world.delivery(&one).await;
    let answers: Vec<_> =
        delivery["firings"].as_array().unwrap().iter().map(|f| &f["status"]).collect();
    assert_eq!(answers, ["fired", "filtered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_can_tell_repetitions() {
    let world = World::start().await;
    let told_by = "payload.kind + ':' + string(payload.n) + ':' + headers['x-shop-id']";
    let options = json!({ "dedupe": { "expression": told_by } });
    let hook = world.open_trigger(json!({ "options": options })).await;
    let send = async |shop: &str, body: serde_json::Value| {
        let api = Api::router(world.router.clone()).header("x-shop-id", shop);
        api.post(&format!("/v1/hooks/{hook}"), &body).await
    };

    let first = send("a", json!({ "kind": "paid", "n": 7, "try": 1 })).await.expect(202);
    let again = send("a", json!({ "kind": "paid", "n": 7, "try": 2 })).await.expect(200);
    send("b", json!({ "kind": "paid", "n": 7 })).await.expect(202);
    send("a", json!({ "kind": "paid", "n": 8 })).await.expect(202);
    // What has no such id is no repetition of anything.
    send("a", json!({ "kind": "paid" })).await.expect(202);
    send("a", json!({ "kind": "paid" })).await.expect(202);

    assert_eq!(again, json!({ "status": "duplicate" }));
    assert_eq!(world.delivery(&first).await["dedupe_key"], "paid:7:a");
    let patch = json!({ "options": { "dedupe": { "expression": "payload.n +" } } });
    let refused = world.mine().patch(&format!("/v1/triggers/{hook}"), &patch).await;
    assert_eq!(refused.refusal(), (422, "validation_failed"));
    assert_eq!(refused.body["errors"][0]["pointer"], "/options/dedupe/expression");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_delivers_too_often_is_told_when_to_come_back() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let api = Api::router(world.router.clone());
    let path = format!("/v1/hooks/{hook}");
    let from = async |peer: &str, forwarded: &str, path: &str| {
        let api = api.from_peer(peer).header("x-forwarded-for", forwarded);
        api.post(path, &json!({})).await
    };
    // So many at once that, however slow this machine is, there is no room for all of them.
    let flood = async |peer: &str, forwarded: &str| {
        let all = (0..60).map(|_| from(peer, forwarded, &path));
        let replies = futures::future::join_all(all).await;
        replies.into_iter().find(|reply| reply.status == 429)
    };

    // What an address comes for does not matter.
    for path in [path.as_str(), "/v1/hooks/nowhere", "/v1/hooks/github"] {
        assert_ne!(from("203.0.113.9", "", path).await.status, 429, "{path}");
    }
    let refused = flood("203.0.113.9", "198.51.100.1").await.expect("a refusal");
    assert_eq!(refused.refusal(), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    // Others are not held up: another address, one behind a proxy of ours, and the proxy itself in nobody's name.
    from("203.0.113.10", "", &path).await.expect(202);
    from("127.0.0.1", "198.51.100.7", &path).await.expect(202);
    assert!(flood("127.0.0.1", "").await.is_none());
    // Nor is a private address, which may be a proxy's that nobody named.
    assert!(flood("10.1.2.3", "198.51.100.8").await.is_none());
    let behind = flood("127.0.0.1", "198.51.100.7").await.expect("a refusal behind the proxy");
    assert_eq!(behind.refusal(), (429, "rate_limited"));
}
