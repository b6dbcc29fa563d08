//! `POST /v1/credentials/{id}/test` against real servers: HTTP stand-ins, this test's own Postgres, a Redis of three
//! commands.

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Person, Reply, Stub};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::harness::{SECRET, TestApp};

async fn tried(app: &TestApp, person: &Person, kind: &str, fields: Value) -> Reply {
    let body = json!({ "type": kind, "credentials": fields });
    let id = app.stored(person, &body).await;
    app.person(person).post(&format!("/v1/credentials/{id}/test"), &json!({})).await
}

#[tokio::test]
async fn providers_are_really_asked_who_this_is() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let stub = Stub::start(|request| {
        let bearer = request.header("authorization") == format!("Bearer {SECRET}");
        match request.path.as_str() {
            "/v1/models" | "/user" if bearer => Answer::Json(200, json!({ "login": "me" })),
            "/v1/models" if request.header("x-api-key") == SECRET => Answer::Json(200, json!({})),
            "/api/auth.test" => Answer::Json(200, json!({ "ok": false, "error": "invalid_auth" })),
            path if path == format!("/bot123:{SECRET}/getMe") => {
                Answer::Json(200, json!({ "ok": true }))
            }
            "/2010-04-01/Accounts/AC1.json" => {
                Answer::Json(401, json!({ "message": format!("{SECRET} is wrong") }))
            }
            "/azure/oauth2/v2.0/token" => Answer::Json(200, json!({ "access_token": SECRET })),
            _ => Answer::Json(404, json!({})),
        }
    })
    .await;
    let base = stub.url();

    for (kind, fields, outcome, message) in [
        ("openai_api", json!({ "api_key": SECRET, "base_url": base }), "passed", "HTTP 200"),
        ("anthropic_api", json!({ "api_key": SECRET, "base_url": base }), "passed", "HTTP 200"),
        ("github_api", json!({ "token": SECRET, "base_url": base }), "passed", "HTTP 200"),
        (
            "github_api",
            json!({ "token": "another-token-123", "base_url": base }),
            "failed",
            "HTTP 404",
        ),
        (
            "slack_api",
            json!({ "token": SECRET, "base_url": base }),
            "failed",
            "HTTP 200: invalid_auth",
        ),
        (
            "telegram_api",
            json!({ "bot_token": format!("123:{SECRET}"), "base_url": base }),
            "passed",
            "HTTP 200",
        ),
        (
            "twilio_api",
            json!({ "account_sid": "AC1", "auth_token": SECRET, "base_url": base }),
            "failed",
            "HTTP 401: [redacted] is wrong",
        ),
        (
            "azure",
            json!({ "tenant_id": "azure", "client_id": "c", "client_secret": SECRET, "base_url": base }),
            "passed",
            "HTTP 200",
        ),
    ] {
        let reply = tried(&app, &me, kind, fields).await;
        let said = (&reply.body["outcome"], &reply.body["message"]);
        assert_eq!(said, (&json!(outcome), &json!(message)), "{kind}: {}", reply.text);
        assert!(!reply.text.contains(SECRET), "{}", reply.text);
    }
    let form = stub.requests().into_iter().find(|r| r.path.starts_with("/azure")).unwrap();
    assert!(String::from_utf8_lossy(&form.body).contains(&format!("client_secret={SECRET}")));
}

#[tokio::test]
async fn a_test_changes_health_tells_of_it_and_is_in_the_audit() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let stub = Stub::start(|request| {
        let right = request.header("authorization") == format!("Bearer {SECRET}");
        Answer::Json(if right { 200 } else { 401 }, json!({}))
    })
    .await;
    let fields = json!({ "token": "a-wrong-token-12345", "base_url": stub.url() });
    let id = app.stored(&me, &json!({ "type": "github_api", "credentials": fields })).await;
    let (api, path) = (app.person(&me), format!("/v1/credentials/{id}/test"));
    let view = format!("{}?user_id={}", crate::harness::at(&me, &id), me.user);

    api.post(&path, &json!({})).await.expect(200);
    let failed = api.get(&view).await.expect(200);
    let patch = json!({ "credentials": { "token": SECRET } });
    api.patch(&crate::harness::at(&me, &id), &patch).await.expect(200);
    api.post(&path, &json!({})).await.expect(200);
    let passed = api.get(&view).await.expect(200);

    assert_eq!(
        (&failed["health"], &failed["tested"]["outcome"]),
        (&json!("failed_test"), &json!("failed"))
    );
    assert_eq!((&passed["health"], &passed["tested"]["outcome"]), (&json!("ok"), &json!("passed")));
    let trail = app.trail(&me, &id).await;
    assert!(trail.contains(&"test failed test_failed".into()), "{trail:?}");
    assert!(trail.contains(&"test ok -".into()), "{trail:?}");
    let told = app.emitted().await.into_iter().filter(|name| name.ends_with("health_changed"));
    assert_eq!(told.count(), 2);
}

#[tokio::test]
async fn a_postgres_is_logged_in_to() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let url: url::Url = app.db.config("credsvc").app_url.expose_secret().parse().unwrap();
    let password = url.password().unwrap_or("none").to_owned();
    let fields = |user: &str| {
        json!({ "host": "127.0.0.1", "port": url.port().unwrap(), "username": user,
            "password": password, "database": url.path().trim_start_matches('/'), "sslmode": "disable" })
    };

    let right = tried(&app, &me, "postgres", fields(url.username())).await.expect(200);
    let wrong = tried(&app, &me, "postgres", fields("nobody-of-this-name")).await.expect(200);

    assert_eq!(right["outcome"], "passed", "{right}");
    assert!(right["message"].as_str().unwrap().starts_with("PostgreSQL "), "{right}");
    assert_eq!(wrong["outcome"], "failed", "{wrong}");
}

#[tokio::test]
async fn a_redis_is_logged_in_to() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    app.life.spawn("redis", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = [0; 512];
            while let Ok(read @ 1..) = stream.read(&mut heard).await {
                let heard = String::from_utf8_lossy(&heard[..read]).into_owned();
                let answer = match heard {
                    text if text.contains("AUTH") && !text.contains(SECRET) => "-WRONGPASS no\r\n",
                    text if text.contains("PING") => "+PONG\r\n",
                    _ => "+OK\r\n",
                };
                stream.write_all(answer.as_bytes()).await?;
            }
        }
        Ok(())
    });
    let fields =
        |password: &str| json!({ "host": "127.0.0.1", "port": port, "password": password });

    let right = tried(&app, &me, "redis", fields(SECRET)).await.expect(200);
    let wrong = tried(&app, &me, "redis", fields("something-else")).await.expect(200);

    assert_eq!((&right["outcome"], &right["message"]), (&json!("passed"), &json!("PONG")));
    assert_eq!((&wrong["outcome"], &wrong["message"]), (&json!("failed"), &json!("WRONGPASS no")));
}

#[tokio::test]
async fn what_cannot_or_may_not_be_tested_is_refused() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let member = admin.colleague(Role::Member);
    let (own, shared) = (app.own(&admin).await, app.shared(&admin).await);
    let test = async |person: &Person, id: &str| {
        app.person(person).post(&format!("/v1/credentials/{id}/test"), &json!({})).await
    };

    assert_eq!(test(&admin, &own).await.refusal(), (422, "credential_not_testable"));
    assert_eq!(test(&member, &own).await.refusal(), (404, "credential_not_found"));
    assert_eq!(test(&member, &shared).await.refusal(), (403, "not_allowed"));
    let inside = json!({ "token": SECRET, "base_url": "http://169.254.169.254/" });
    let inside = tried(&app, &admin, "github_api", inside).await.expect(200);
    assert_eq!(inside["outcome"], "failed");
    assert!(inside["message"].as_str().unwrap().contains("not a public address"), "{inside}");
}
