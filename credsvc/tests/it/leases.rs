//! Who may have a secret in memory, and for how long.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use shared_models::{AgentId, CredentialId, Role, RunId, Service};

use crate::harness::{SECRET, TestApp, ask, at, resolve_path};

async fn leases(app: &TestApp, person: &testkit::Person, id: &str) -> Vec<Value> {
    let path = format!("/v1/credentials/{id}/leases");
    app.person(person).get(&path).await.expect(200)["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_lease_is_bound_to_run_agent_purpose_and_host_and_ends_with_its_credential() {
    let app = TestApp::start().await;
    let (me, agent, run) = (app.trust.owner(), AgentId::mint(), RunId::mint());
    let id = app.own(&me).await;
    app.granted(&me, &id, agent).await;
    let engine = app.service(Service::Engine, &me, Some(run));
    let lease = async || {
        engine.post(&resolve_path(&id), &ask(agent, me.user)).await.expect(200);
    };
    assert!(leases(&app, &me, &id).await.is_empty());

    lease().await;
    let seen = leases(&app, &me, &id).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    let one = &seen[0];
    assert_eq!((&one["run_id"], &one["holder"]), (&json!(run), &json!("svc:engine")));
    assert_eq!(one["grantee"], format!("agent {agent}"));
    assert_eq!(
        (&one["purpose"], &one["host"]),
        (&json!("tool weather"), &json!("api.example.com"))
    );
    let at_of = |name: &str| {
        chrono::DateTime::parse_from_rfc3339(one[name].as_str().unwrap()).unwrap().to_utc()
    };
    assert_eq!(at_of("expires_at") - at_of("granted_at"), TimeDelta::seconds(60));

    let api = app.person(&me);
    api.patch(&at(&me, &id), &json!({ "credentials": { "token": "another" } })).await.expect(200);
    assert!(leases(&app, &me, &id).await.is_empty(), "a change ends leases");
    lease().await;
    lease().await;
    assert_eq!(leases(&app, &me, &id).await.len(), 2);
    api.post(&format!("/v1/credentials/{id}/revoke"), &json!({})).await.expect(200);
    assert!(leases(&app, &me, &id).await.is_empty(), "taking it back ends leases");

    let path = format!("/v1/credentials/{id}/leases");
    let colleague = app.person(&me.colleague(Role::Owner)).get(&path).await;
    assert_eq!(colleague.refusal(), (404, "credential_not_found"));
    let never = format!("/v1/credentials/{}/leases", CredentialId::mint());
    assert_eq!(api.get(&never).await.refusal(), (404, "credential_not_found"));
}

#[tokio::test]
async fn a_lease_does_not_outlive_what_it_is_of_and_a_change_of_terms_is_told() {
    let app = TestApp::start().await;
    let (me, agent) = (app.trust.owner(), AgentId::mint());
    let id = app.own(&me).await;
    app.granted(&me, &id, agent).await;
    let (engine, asked) = (app.engine(&me), ask(agent, me.user));
    let long = engine.post(&resolve_path(&id), &asked).await.expect(200);

    #[allow(
        clippy::disallowed_methods,
        reason = "compared with the database's on the same machine"
    )]
    let soon = (Utc::now() + TimeDelta::seconds(45)).to_rfc3339();
    let terms = json!({ "expires_at": soon });
    app.person(&me).patch(&at(&me, &id), &terms).await.expect(200);
    let short = engine.post(&resolve_path(&id), &asked).await.expect(200);

    assert_eq!((&long["ttl_seconds"], &long["credentials"]["token"]), (&json!(60), &json!(SECRET)));
    assert!(short["ttl_seconds"].as_u64().unwrap() < 60, "{short}");
    // Whoever keeps a secret hears that it is to be asked for anew.
    let told = ["credential.created", "credential.health_changed", "credential.updated"];
    assert_eq!(app.emitted().await, told);
}

#[tokio::test]
async fn a_service_learns_how_a_credential_is_without_its_secret_and_nobody_else_does() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let id = app.own(&me).await;
    let path = format!("/internal/credentials/{id}/standing");
    let engine = app.service(Service::Engine, &me, None);

    let well = engine.get(&path).await.expect(200);
    app.person(&me).post(&format!("/v1/credentials/{id}/revoke"), &json!({})).await.expect(200);
    let revoked = engine.get(&path).await.expect(200);

    assert_eq!(well, json!({ "credential_id": id, "health": "ok" }));
    assert_eq!(revoked["health"], "revoked");
    assert_eq!(app.person(&me).get(&path).await.status, 403);
    let other = app.service(Service::Engine, &app.trust.owner(), None);
    assert_eq!(other.get(&path).await.refusal(), (404, "credential_not_found"));
}
