//! Until when, where to and as what a credential is given out.

use chrono::{TimeDelta, Utc};
use serde_json::json;
use shared_models::{AgentId, Role};

use crate::harness::{SECRET, TestApp, ask, at, of, resolve_path};

#[tokio::test]
async fn an_expired_credential_is_refused_until_it_gets_more_time() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let agent = AgentId::mint();
    let body = json!({ "credentials": { "token": SECRET }, "expires_at": "2020-01-01T00:00:00Z" });
    let id = app.stored(&me, &body).await;
    app.granted(&me, &id, agent).await;
    let (engine, path, asked) = (app.engine(&me), resolve_path(&id), ask(agent, me.user));

    assert_eq!(engine.post(&path, &asked).await.refusal(), (409, "credential_expired"));
    #[allow(clippy::disallowed_methods, reason = "a day is long enough for any clock")]
    let tomorrow = (Utc::now() + TimeDelta::days(1)).to_rfc3339();
    let api = app.person(&me);
    let soon = api.patch(&at(&me, &id), &json!({ "expires_at": tomorrow })).await.expect(200);
    assert_eq!(soon["health"], "expiring");
    engine.post(&path, &asked).await.expect(200);
    let past = json!({ "expires_at": "2020-01-01T00:00:00Z" });
    assert_eq!(api.patch(&at(&me, &id), &past).await.expect(200)["health"], "expired");
    // Nothing is left that would say so later.
    let never = api.patch(&at(&me, &id), &json!({ "expires_at": null })).await.expect(200);
    assert_eq!(never["health"], "ok");
    engine.post(&path, &asked).await.expect(200);
    assert_eq!(
        app.trail(&me, &id).await,
        [
            "create ok -",
            "grant ok -",
            "resolve refused expired",
            "update ok -",
            "resolve ok -",
            "update ok -",
            "update ok -",
            "resolve ok -"
        ]
    );
    let told = app.emitted().await;
    let changes = told.iter().filter(|name| *name == "credential.health_changed").count();
    assert_eq!(changes, 3, "{told:?}");
}

#[tokio::test]
async fn a_credential_bound_to_hosts_goes_to_no_other() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let agent = AgentId::mint();
    let hosts = json!(["api.example.com", "*.example.org"]);
    let body = json!({ "credentials": { "token": SECRET }, "allowed_hosts": hosts });
    let id = app.stored(&me, &body).await;
    app.granted(&me, &id, agent).await;
    let lease = async |host: Option<&str>| {
        let mut body = ask(agent, me.user);
        body.as_object_mut().unwrap().remove("host");
        if let Some(host) = host {
            body["host"] = json!(host);
        }
        app.engine(&me).post(&resolve_path(&id), &body).await.status
    };

    for (host, status) in [
        (Some("api.example.com"), 200),
        (Some("API.example.com:443"), 200),
        (Some("a.example.org"), 200),
        (Some("example.org"), 403),
        (Some("api.example.com.evil.net"), 403),
        (Some("not a host"), 403),
        (None, 403),
    ] {
        assert_eq!(lease(host).await, status, "{host:?}");
    }
    let odd = json!({ "credentials": { "token": SECRET }, "allowed_hosts": ["https://x"] });
    let refused = app.person(&me).post(&of(&me), &odd).await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/allowed_hosts/0");
}

#[tokio::test]
async fn bait_works_like_any_other_credential_and_tells_who_took_it() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let (member, agent) = (admin.colleague(Role::Member), AgentId::mint());
    let body = json!({ "credentials": { "token": SECRET }, "honey": true });

    let refused = app.person(&member).post(&of(&member), &body).await;
    let id = app.stored(&admin, &body).await;
    app.granted(&admin, &id, agent).await;
    let lease = app.engine(&admin).post(&resolve_path(&id), &ask(agent, admin.user)).await;

    assert_eq!(refused.refusal(), (403, "not_allowed"));
    assert_eq!(lease.expect(200)["credentials"]["token"], SECRET);
    assert_eq!(app.emitted().await, ["credential.created", "credential.honey_used"]);
    // Whoever sees it masked does not see what it is.
    let path = format!("{}?user_id={}", at(&admin, &id), admin.user);
    assert!(app.person(&admin).get(&path).await.expect(200).get("honey").is_none());
    let plain = app.own(&member).await;
    let patch = json!({ "honey": true });
    let refused = app.person(&member).patch(&at(&member, &plain), &patch).await;
    assert_eq!(refused.refusal(), (403, "not_allowed"));
}
