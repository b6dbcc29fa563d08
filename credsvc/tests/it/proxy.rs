//! `/v1/proxy`: calls with a secret that the caller never sees.

use serde_json::json;
use shared_models::Role;
use testkit::{Answer, Api, Stub, Stubbed};

use crate::harness::{SECRET, TestApp};

async fn echo() -> Stub {
    Stub::start(|request| {
        let headers = vec![
            ("content-type".to_owned(), "text/html".to_owned()),
            ("set-cookie".to_owned(), "a=b".to_owned()),
            ("x-echo".to_owned(), request.header("authorization").to_owned()),
        ];
        let said = format!(
            "{} {}?{} {} {} {}",
            request.method,
            request.path,
            request.query,
            request.header("authorization"),
            request.header("cookie"),
            String::from_utf8_lossy(&request.body)
        );
        Answer::Raw(418, headers, said.into_bytes())
    })
    .await
}

#[tokio::test]
async fn a_call_carries_the_secret_out_and_not_back() {
    let app = TestApp::start().await;
    let (me, stub) = (app.trust.owner(), echo().await);
    let fields = json!({ "token": SECRET, "base_url": format!("{}/v2", stub.url()) });
    let id = app.stored(&me, &json!({ "type": "http_bearer", "credentials": fields })).await;
    let api = app.person(&me).header("cookie", "ours=1");

    let reply = api.post(&format!("/v1/proxy/{id}/a/b%20c?x=1"), &json!({ "n": 1 })).await;
    let short = api.get(&format!("/v1/proxy/{id}/a")).await;

    assert_eq!(reply.status, 418);
    assert_eq!(reply.text, "POST /v2/a/b%20c?x=1 Bearer [redacted]  {\"n\":1}");
    assert_eq!(short.text, "GET /v2/a? Bearer [redacted]  ");
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(reply.header("content-security-policy"), Some("sandbox; default-src 'none'"));
    assert_eq!((reply.header("set-cookie"), reply.header("x-echo")), (None, None));
    assert_eq!(stub.requests()[0].header("authorization"), format!("Bearer {SECRET}"));
    assert_eq!(app.trail(&me, &id).await, ["create ok -", "call ok -", "call ok -"]);
}

#[tokio::test]
async fn calls_stay_behind_the_base_url_and_within_the_hosts() {
    let app = TestApp::start().await;
    let (me, stub) = (app.trust.owner(), echo().await);
    let base = format!("{}/v2", stub.url());
    let fields = json!({ "token": SECRET, "base_url": base });
    let id = app.stored(&me, &json!({ "type": "http_bearer", "credentials": fields })).await;
    let bound =
        json!({ "type": "http_bearer", "credentials": fields, "allowed_hosts": ["a.example"] });
    let bound = app.stored(&me, &bound).await;
    let (plain, member) = (app.own(&me).await, app.person(&me.colleague(Role::Member)));
    let api = app.person(&me);

    for (what, path, expected) in [
        ("upwards", format!("/v1/proxy/{id}/%2e%2e/admin"), (422, "credential_not_callable")),
        ("another host", format!("/v1/proxy/{bound}/x"), (403, "credential_host_not_allowed")),
        ("no call of its type", format!("/v1/proxy/{plain}/x"), (422, "credential_not_callable")),
        ("no id", "/v1/proxy/nobody/x".to_owned(), (404, "not_found")),
    ] {
        assert_eq!(api.get(&path).await.refusal(), expected, "{what}");
    }
    assert_eq!(
        member.get(&format!("/v1/proxy/{id}/x")).await.refusal(),
        (404, "credential_not_found")
    );
    assert_eq!(stub.requests().len(), 0);
}

/// A credential whose calls go to a stand-in, and its owner's door.
async fn callable(app: &TestApp, url: &str) -> (Api, String) {
    let me = app.trust.owner();
    let fields = json!({ "token": SECRET, "base_url": url });
    let id = app.stored(&me, &json!({ "type": "http_bearer", "credentials": fields })).await;
    (app.person(&me), format!("/v1/proxy/{id}"))
}

#[tokio::test]
async fn only_what_is_meant_for_the_api_goes_along() {
    let (app, stub) = (TestApp::start().await, echo().await);
    let (api, base) = callable(&app, &stub.url()).await;
    let mut caller = api;
    for (name, value) in [
        ("accept", "text/plain"),
        ("if-none-match", "\"1\""),
        ("cookie", "session=ours"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-switchyard-anything", "1"),
        ("proxy-authorization", "Basic b3Vycw=="),
        ("connection", "x-mine, close"),
        ("x-mine", "1"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
    ] {
        caller = caller.header(name, value);
    }

    caller.get(&format!("{base}/a")).await;

    let seen: &Stubbed = &stub.requests()[0];
    let mut names: Vec<&str> = seen.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names.retain(|name| !["accept-encoding", "user-agent", "traceparent"].contains(name));
    assert_eq!(names, ["accept", "authorization", "host", "if-none-match"]);
    assert_eq!(seen.header("authorization"), format!("Bearer {SECRET}"));
    assert_eq!(seen.header("host"), format!("127.0.0.1:{}", stub.port()));
}

#[tokio::test]
async fn what_is_too_large_is_refused_on_the_way_out_and_cut_on_the_way_back() {
    const MIB: usize = 1024 * 1024;
    let app = TestApp::start().await;
    let stub = Stub::start(|_| Answer::Raw(200, vec![], vec![b'x'; 2 * MIB])).await;
    let (api, base) = callable(&app, &stub.url()).await;

    let path = format!("{base}/a");
    for size in [MIB + 1, 2 * MIB + 1] {
        let large = api.raw(http::Method::POST, &path, vec![b'x'; size]).await;
        assert_eq!(large.refusal(), (413, "payload_too_large"), "{}", large.text);
    }
    assert_eq!(stub.requests().len(), 0);
    let cut = api.raw(http::Method::POST, &path, vec![b'x'; MIB]).await;

    assert_eq!(
        (cut.status, cut.text.len()),
        (200, MIB),
        "{}",
        &cut.text[..cut.text.len().min(400)]
    );
    assert_eq!(cut.header("x-switchyard-truncated"), Some("true"));
    assert_eq!(stub.requests()[0].body.len(), MIB);
}

#[tokio::test]
async fn a_redirection_to_somebody_else_is_not_followed_with_the_secret() {
    let (app, elsewhere) = (TestApp::start().await, echo().await);
    let to = format!("{}/stolen", elsewhere.url());
    let stub = Stub::start(move |_| {
        Answer::Raw(307, vec![("location".to_owned(), to.clone())], Vec::new())
    })
    .await;
    let (api, base) = callable(&app, &stub.url()).await;

    let reply = api.get(&format!("{base}/a")).await;

    assert_eq!(reply.refusal(), (422, "outgoing_refused"), "{}", reply.text);
    assert!(reply.text.contains("redirect (307) not followed"), "{}", reply.text);
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn a_call_without_an_answer_is_audited_as_made_and_as_failed() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let stub = Stub::start(|_| Answer::Reset).await;
    let fields = json!({ "token": SECRET, "base_url": stub.url() });
    let id = app.stored(&me, &json!({ "type": "http_bearer", "credentials": fields })).await;

    let reply = app.person(&me).post(&format!("/v1/proxy/{id}/a"), &json!({})).await;

    assert_eq!(reply.code(), "outgoing_failed", "{}", reply.text);
    assert!(!reply.text.contains(SECRET), "{}", reply.text);
    assert_eq!(app.trail(&me, &id).await, ["create ok -", "call ok -", "call failed no_answer"]);
}
