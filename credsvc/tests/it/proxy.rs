//! `/v1/proxy`: calls with a secret that the caller never sees.

use serde_json::json;
use shared_models::Role;
use testkit::{Answer, Stub};

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
