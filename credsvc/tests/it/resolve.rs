//! Resolving: plaintext for services, inside a grant, and nothing when the stored row was touched.

use serde_json::json;
use shared_models::{AgentId, CredentialId, ModelId, Role, RunId, Service, WebhookEndpointId};

use crate::harness::{SECRET, TestApp, ask, resolve_path};

#[tokio::test]
async fn a_granted_credential_resolves_for_its_agent_and_owner() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let (id, agent) = (app.own(&me).await, AgentId::mint());
    app.granted(&me, &id, agent).await;

    let found = app.engine(&me).post(&resolve_path(&id), &ask(agent, me.user)).await.expect(200);

    assert_eq!(
        found,
        json!({
            "credential_id": id, "version": 1, "type": "generic",
            "credentials": { "token": SECRET }, "ttl_seconds": 60,
        })
    );
}

#[tokio::test]
async fn everything_else_is_refused_and_audited() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let (alice, rival) = (admin.colleague(Role::Member), app.trust.owner());
    let (mine, shared) = (app.own(&alice).await, app.shared(&admin).await);
    let (agent, other) = (AgentId::mint(), AgentId::mint());
    app.granted(&alice, &mine, agent).await;
    app.granted(&alice, &shared, agent).await;
    let (engine, foreign) = (app.engine(&alice), app.engine(&rival));
    let idle = app.service(Service::Engine, &alice, None);
    let absent = CredentialId::mint().to_string();

    for (what, api, id, body, expected) in [
        ("another agent", &engine, &mine, ask(other, alice.user), (403, "credential_not_granted")),
        ("another owner", &engine, &mine, ask(agent, admin.user), (403, "credential_not_granted")),
        (
            "the tenant's, another owner",
            &engine,
            &shared,
            ask(agent, admin.user),
            (403, "credential_not_granted"),
        ),
        ("no run", &idle, &mine, ask(agent, alice.user), (403, "run_required")),
        ("another tenant", &foreign, &mine, ask(agent, alice.user), (404, "credential_not_found")),
        ("none", &engine, &absent, ask(agent, alice.user), (404, "credential_not_found")),
    ] {
        let reply = api.post(&resolve_path(id), &body).await;
        assert_eq!(reply.refusal(), expected, "{what}: {}", reply.text);
    }
    assert_eq!(
        app.trail(&admin, &mine).await,
        [
            "create ok -",
            "grant ok -",
            "resolve refused not_granted",
            "resolve refused not_granted",
            "resolve refused no_run",
        ]
    );
    assert_eq!(app.trail(&rival, &mine).await, ["resolve refused not_found"]);
    let person = app.person(&alice).post(&resolve_path(&mine), &ask(agent, alice.user)).await;
    assert_eq!(person.refusal(), (403, "scope_missing"));
}

#[tokio::test]
async fn an_endpoint_and_a_model_get_their_secrets_beside_any_run_and_an_agent_does_not() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let id = app.own(&me).await;
    let engine = app.service(Service::Engine, &me, None);
    let grantees = [
        ("webhook", WebhookEndpointId::mint().to_string(), 200),
        ("model", ModelId::mint().to_string(), 200),
        ("agent", AgentId::mint().to_string(), 403),
    ];

    for (kind, grantee, status) in grantees {
        let grantee = json!({ "kind": kind, "id": grantee });
        let grant = json!({ "credential_id": id, "grantee": grantee, "owner": me.user });
        let granted = app.on_behalf(Service::Engine, &me).post("/internal/grants", &grant).await;
        granted.expect(201);
        let asked = json!({ "grantee": grantee, "owner": me.user, "purpose": "a test" });
        let reply = engine.post(&resolve_path(&id), &asked).await;
        assert_eq!(reply.status, status, "{kind}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_purpose_must_be_said_and_nothing_unknown() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let (id, agent) = (app.own(&me).await, AgentId::mint());
    let grantee = json!({ "kind": "agent", "id": agent });

    for body in [
        json!({ "grantee": grantee, "owner": me.user }),
        json!({ "grantee": grantee, "owner": me.user, "purpose": "" }),
        json!({ "grantee": grantee, "owner": me.user, "purpose": "a\u{0}b" }),
        json!({ "grantee": grantee, "owner": me.user, "purpose": "a", "host": "" }),
        json!({ "grantee": grantee, "owner": me.user, "purpose": "a", "colour": "red" }),
        json!({ "grantee": { "kind": "tool", "id": agent }, "owner": me.user, "purpose": "a" }),
        json!({ "grantee": { "kind": "trigger", "id": agent }, "owner": me.user, "purpose": "a" }),
    ] {
        let reply = app.engine(&me).post(&resolve_path(&id), &body).await;
        assert_eq!(reply.refusal(), (422, "validation_failed"), "{body}: {}", reply.text);
    }
}

#[tokio::test]
async fn the_audit_says_who_for_whom_what_why_where_and_how() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let (id, agent, run) = (app.own(&me).await, AgentId::mint(), RunId::mint());
    app.granted(&me, &id, agent).await;
    let engine = app.service(Service::Engine, &me, Some(run)).header("x-request-id", "request-7");

    engine.post(&resolve_path(&id), &ask(agent, me.user)).await.expect(200);

    let page = app.person(&me).get("/v1/credential-audit?action=resolve").await.expect(200);
    let entry = &page["items"][0];
    for (field, expected) in [
        ("actor", json!("svc:engine")),
        ("on_behalf_of", json!(me.user)),
        ("credential_id", json!(id)),
        ("grantee", json!(format!("agent {agent}"))),
        ("run_id", json!(run)),
        ("purpose", json!("tool weather")),
        ("host", json!("api.example.com")),
        ("request_id", json!("request-7")),
        ("outcome", json!("ok")),
    ] {
        assert_eq!(entry[field], expected, "{field} of {entry}");
    }
}

#[tokio::test]
async fn a_row_that_was_touched_does_not_open() {
    for (what, statement) in [
        (
            "another row's secret",
            "update credsvc.credential a set sealed = b.sealed, data_key = b.data_key
            from credsvc.credential b where a.credential_id <> b.credential_id",
        ),
        (
            "another row's data key",
            "update credsvc.credential a set data_key = b.data_key
            from credsvc.credential b where a.credential_id <> b.credential_id",
        ),
        ("a version of its own", "update credsvc.credential set version = 2, revision = 2"),
        (
            "a relabelled version",
            "update credsvc.credential
            set version = 2, revision = 2, sealed = replace(sealed, 'sy:v1:', 'sy:v2:')",
        ),
        ("a cut text", "update credsvc.credential set sealed = left(sealed, 20)"),
        ("no owner", "update credsvc.credential set user_id = null"),
        (
            "an edited text",
            "update credsvc.credential set sealed = overlay(sealed placing 'AAAA' from 30)",
        ),
    ] {
        let app = TestApp::start().await;
        let me = app.trust.owner();
        let (id, agent) = (app.own(&me).await, AgentId::mint());
        app.own(&me).await;
        app.granted(&me, &id, agent).await;

        app.tamper(statement).await;

        let reply = app.engine(&me).post(&resolve_path(&id), &ask(agent, me.user)).await;
        assert_eq!(reply.refusal(), (500, "credential_unreadable"), "{what}: {}", reply.text);
        assert_eq!(
            app.trail(&me, &id).await.last().unwrap(),
            "resolve failed unreadable",
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_credential_given_to_another_user_in_the_table_does_not_open() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let thief = me.colleague(Role::Member);
    let (id, agent) = (app.own(&me).await, AgentId::mint());
    let mut admin = app.db.admin().await;
    sqlx::query("update credsvc.credential set user_id = $1")
        .bind(thief.user)
        .execute(&mut admin)
        .await
        .unwrap();
    app.granted(&thief, &id, agent).await;

    let reply = app.engine(&thief).post(&resolve_path(&id), &ask(agent, thief.user)).await;

    assert_eq!(reply.refusal(), (500, "credential_unreadable"));
}
