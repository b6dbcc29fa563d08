//! Providers that sign in their own way, at hooks: GitHub, Slack, Stripe, HubSpot, Google Pub/Sub; keys that are replaced,
//! and who may deliver at all.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use shared_models::TriggerId;
use testkit::{Api, Reply, push_token, slack_delivers};

use crate::harness::{PUBLIC_URL, World, signed};

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs().cast_signed()
}

fn mac(key: &str, text: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.chain_update(text).finalize().into_bytes().to_vec()
}

/// A trigger of a provider's system whose key is `key`.
async fn of_provider(world: &World, system: &str, options: Value) -> TriggerId {
    let credential = world.credential(json!({ "secret": "key" }));
    let body = json!({ "system": system, "options": options, "credential_id": credential });
    world.trigger(body).await.0
}

async fn send(world: &World, hook: TriggerId, headers: &[(&str, &str)], body: &str) -> Reply {
    let api = Api::router(world.router.clone()).header("content-type", "application/json");
    let api = headers.iter().fold(api, |api, (name, value)| api.header(name, value));
    api.raw(Method::POST, &format!("/v1/hooks/{hook}"), body.into()).await
}

pub(crate) async fn github(
    world: &World,
    hook: TriggerId,
    event: &str,
    id: &str,
    body: &str,
) -> Reply {
    let signature = format!("sha256={}", hex::encode(mac("key", body)));
    let headers = [
        ("x-hub-signature-256", &*signature),
        ("x-github-event", event),
        ("x-github-delivery", id),
    ];
    send(world, hook, &headers, body).await
}

/// As Slack delivers it; what each of its tries was answered.
async fn slack(world: &World, hook: TriggerId, event: &Value) -> Vec<Reply> {
    let mut replies = Vec::new();
    slack_delivers("key", event, now(), async |headers, body| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        replies.push(send(world, hook, &headers, &body).await);
        replies.last().map_or(0, |reply| reply.status)
    })
    .await;
    replies
}

#[tokio::test(flavor = "multi_thread")]
async fn github_delivers_once_and_its_ping_starts_nothing() {
    let world = World::start().await;
    let hook = of_provider(&world, "github", json!({})).await;

    let ping = github(&world, hook, "ping", "1", r#"{"zen":"."}"#).await.expect(200);
    let first = github(&world, hook, "push", "2", r#"{"ref":"main"}"#).await.expect(202);
    let again = github(&world, hook, "push", "2", r#"{"ref":"main"}"#).await.expect(200);
    let forged = send(&world, hook, &[("x-hub-signature-256", "sha256=00")], "{}").await;

    assert_eq!((ping, again), (json!({ "status": "pong" }), json!({ "status": "duplicate" })));
    assert_eq!(forged.refusal(), (401, "bad_signature"));
    let event = world.engine().await.take(1).await.remove(0).data;
    assert_eq!((event.system.as_str(), event.dedupe_key.as_deref()), ("github", Some("2")));
    assert_eq!(world.delivery(&first).await["headers"]["x-github-event"], "push");
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_gets_its_challenge_back_and_a_retry_is_a_repetition() {
    let world = World::start().await;
    let hook = of_provider(&world, "slack", json!({})).await;
    let event = json!({ "type": "event_callback", "event_id": "Ev1", "event_time": 1_800_000_000,
        "team_id": "T1", "event": { "type": "message" } });

    let challenge = json!({ "type": "url_verification", "challenge": "abc" });
    let echoed = slack(&world, hook, &challenge).await.remove(0).expect(200);
    let forged = send(&world, hook, &[], &challenge.to_string()).await;
    let first = slack(&world, hook, &event).await.remove(0).expect(202);
    // It was not heard that it was taken.
    let again = slack(&world, hook, &event).await.remove(0).expect(200);

    assert_eq!(echoed, json!({ "challenge": "abc" }));
    assert_eq!(forged.refusal(), (401, "bad_signature"), "a challenge is signed like all else");
    assert_eq!(again, json!({ "status": "duplicate" }));
    assert_eq!(world.delivery(&first).await["occurred_at"], "2027-01-15T08:00:00.000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_tries_again_what_could_not_be_taken_and_then_it_fires_once() {
    let world = World::start().await;
    let hook = of_provider(&world, "slack", json!({})).await;
    let event =
        json!({ "type": "event_callback", "event_id": "Ev1", "team_id": "T1", "event": {} });
    world.vault.lock().unwrap().down = true;

    let mut tries = Vec::new();
    slack_delivers("key", &event, now(), async |headers, body| {
        // The vault is back before the second retry.
        world.vault.lock().unwrap().down = tries.len() < 2;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        tries.push(send(&world, hook, &headers, &body).await.status);
        tries.last().copied().unwrap_or_default()
    })
    .await;

    assert_eq!(tries, [503, 503, 202]);
    assert_eq!(world.engine().await.take(1).await[0].data.dedupe_key.as_deref(), Some("Ev1"));
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_is_told_apart_by_its_event() {
    let world = World::start().await;
    let hook = of_provider(&world, "stripe", json!({})).await;
    let deliver = async |id: &str, time: i64| {
        let body = json!({ "id": id, "object": "event", "created": 1_800_000_000 }).to_string();
        let signature = hex::encode(mac("key", &format!("{time}.{body}")));
        let header = format!("t={time},v1={signature}");
        send(&world, hook, &[("stripe-signature", &header)], &body).await.status
    };

    assert_eq!(deliver("evt_1", now()).await, 202);
    assert_eq!(deliver("evt_1", now() - 10).await, 200);
    assert_eq!(deliver("evt_2", now() - 400).await, 401);
    assert_eq!(deliver("evt_2", now()).await, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_in_a_batch_of_hubspot_is_a_delivery_and_comes_once() {
    let world = World::start().await;
    let hook = of_provider(&world, "hubspot", json!({})).await;
    let change = |event: i64| {
        json!({ "eventId": event, "subscriptionId": 7, "portalId": 62515, "objectId": event,
            "occurredAt": 1_800_000_000_000_i64, "subscriptionType": "contact.creation" })
    };
    let deliver = async |events: &[i64], host: &str| {
        let body: Value = events.iter().map(|event| change(*event)).collect();
        let body = body.to_string();
        let time = format!("{}000", now());
        let text = format!("POST{host}/v1/hooks/{hook}{body}{time}");
        let signature = STANDARD.encode(mac("key", &text));
        let headers =
            [("x-hubspot-signature-v3", &*signature), ("x-hubspot-request-timestamp", &*time)];
        send(&world, hook, &headers, &body).await
    };

    let batch = deliver(&[1, 2, 2, 3], PUBLIC_URL).await.expect(202);
    let again = deliver(&[3, 4], PUBLIC_URL).await.expect(202);
    let elsewhere = deliver(&[5], "http://test.local").await;

    assert_eq!(
        (batch["delivery_ids"].as_array().unwrap().len(), &batch["duplicates"]),
        (3, &json!(1))
    );
    assert_eq!(
        (again["delivery_ids"].as_array().unwrap().len(), &again["duplicates"]),
        (1, &json!(1))
    );
    assert_eq!(elsewhere.refusal(), (401, "bad_signature"), "the Host header is not believed");
    let mut fired: Vec<_> = world.engine().await.take(4).await;
    fired.sort_by_key(|event| event.data.payload.as_ref().unwrap()["eventId"].as_i64());
    let events: Vec<_> = fired.iter().map(|e| e.data.payload.clone().unwrap()).collect();
    assert_eq!(events, [change(1), change(2), change(3), change(4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_google_is_believed_when_google_signed_it_for_us() {
    let world = World::start().await;
    let account = "push@project.iam.gserviceaccount.com";
    let verify =
        json!({ "scheme": "google_oidc", "audience": "switchyard", "service_account": account });
    let (hook, secret) = world.trigger(json!({ "options": { "verify": verify } })).await;
    assert_eq!(secret, "", "there is no secret of ours");
    let push = async |id: &str, audience: &str, account: &str, more: Value| {
        let token = push_token(audience, account, now(), &more);
        let body = json!({ "message": { "data": "e30=", "messageId": id }, "subscription": "s" });
        let header = format!("Bearer {token}");
        send(&world, hook, &[("authorization", &header)], &body.to_string()).await.status
    };

    assert_eq!(push("1", "switchyard", account, json!({})).await, 202);
    assert_eq!(push("1", "switchyard", account, json!({})).await, 200);
    for (audience, account, more) in [
        ("somebody else", account, json!({})),
        ("switchyard", "other@example.com", json!({})),
        ("switchyard", account, json!({ "email_verified": false })),
        ("switchyard", account, json!({ "iss": "https://evil.example.com" })),
        ("switchyard", account, json!({ "exp": now() - 60 })),
        ("switchyard", account, json!({ "iat": now() + 600 })),
    ] {
        assert_eq!(push("2", audience, account, more.clone()).await, 401, "{audience} {more}");
    }
    assert_eq!(world.google.asked(), 1, "the keys are kept");
    let unsigned = send(&world, hook, &[("authorization", "Bearer a.b.c")], "{}").await;
    assert_eq!(unsigned.refusal(), (401, "bad_signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_replaced_without_losing_a_delivery() {
    let world = World::start().await;
    let (hook, old) = world.trigger(json!({})).await;
    world.deliver(hook, &old, "1", "{}").await.expect(202);
    let path = format!("/v1/triggers/{hook}/rotate-secret");

    let rotated = world.mine().post(&path, &json!({ "overlap_seconds": 3600 })).await.expect(200);
    let new = rotated["signing_secret"].as_str().unwrap();

    world.deliver(hook, new, "2", "{}").await.expect(202);
    world.deliver(hook, &old, "3", "{}").await.expect(202);
    world.deliver(hook, new, "1", "{}").await.expect(200);
    let after = world.mine().post(&path, &json!({ "overlap_seconds": 0 })).await.expect(200);
    let newest = after["signing_secret"].as_str().unwrap();
    world.deliver(hook, newest, "4", "{}").await.expect(202);
    for gone in [&old, new] {
        assert_eq!(world.deliver(hook, gone, "5", "{}").await.refusal(), (401, "bad_signature"));
    }
    let open = world.open_trigger(json!({})).await;
    let nothing =
        world.mine().post(&format!("/v1/triggers/{open}/rotate-secret"), &json!({})).await;
    assert_eq!(nothing.refusal(), (409, "nothing_to_rotate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_may_hand_over_the_new_secret_itself() {
    let world = World::start().await;
    let hook = of_provider(&world, "slack", json!({})).await;
    let path = format!("/v1/triggers/{hook}/rotate-secret");

    let rotated = world.mine().post(&path, &json!({ "secret": "given" })).await.expect(200);

    assert_eq!(rotated["signing_secret"], Value::Null);
    let event = json!({ "event_id": "Ev1" });
    slack(&world, hook, &event).await.remove(0).expect(202);
    let refused = world.mine().post(&path, &json!({ "secret": "" })).await;
    assert_eq!(refused.refusal(), (422, "validation_failed"));
    assert!(!refused.text.contains("given"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_addresses_on_the_list_deliver_whatever_a_sender_says_of_itself() {
    let world = World::start().await;
    let hook = world
        .open_trigger(json!({ "options": { "allow_ips": ["192.0.2.0/24", "2001:db8::1"] } }))
        .await;
    let path = format!("/v1/hooks/{hook}");
    let api = Api::router(world.router.clone());
    let from = async |peer: &str, forwarded: &str| {
        let api = api.from_peer(peer).header("x-forwarded-for", forwarded);
        api.post(&path, &json!({})).await.status
    };

    assert_eq!(from("192.0.2.7", "").await, 202);
    assert_eq!(from("2001:db8::1", "").await, 202);
    assert_eq!(
        from("127.0.0.1", "203.0.113.1, 192.0.2.9").await,
        202,
        "our own gateway is believed"
    );
    assert_eq!(from("127.0.0.1", "192.0.2.9, 203.0.113.1").await, 403);
    assert_eq!(from("203.0.113.1", "192.0.2.9").await, 403, "nobody else is");
    let unknown = api.post(&path, &json!({})).await;
    assert_eq!(unknown.refusal(), (403, "ip_not_allowed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_faster_than_the_rate_is_told_when_to_come_back() {
    let world = World::start().await;
    let rate = json!({ "limit": 2, "per_seconds": 3600 });
    let hook = world.open_trigger(json!({ "options": { "rate": rate } })).await;

    world.send(hook, &json!({})).await.expect(202);
    world.send(hook, &json!({})).await.expect(202);
    let refused = world.send(hook, &json!({})).await;

    assert_eq!(refused.refusal(), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1790..=1801).contains(&wait), "{wait}");
    let other = world.open_trigger(json!({})).await;
    world.send(other, &json!({})).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_signed_for_a_trigger_says_nothing_at_another() {
    let world = World::start().await;
    let (_, secret) = world.trigger(json!({})).await;
    let (other, _) = world.trigger(json!({})).await;

    let api = signed(Api::router(world.router.clone()), &secret, "1", "{}");
    let reply = api.raw(Method::POST, &format!("/v1/hooks/{other}"), "{}".into()).await;

    assert_eq!(reply.refusal(), (401, "bad_signature"));
}
