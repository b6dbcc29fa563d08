//! Grants: recorded with the token of a person who may use the credential.

use serde_json::json;
use shared_models::{AgentId, CredentialId, Role, Service, TriggerId};

use crate::harness::{TestApp, ask, grant, resolve_path};

#[tokio::test]
async fn only_who_may_use_a_credential_may_grant_it() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let (alice, bob) = (admin.colleague(Role::Member), admin.colleague(Role::Member));
    let (viewer, rival) = (admin.colleague(Role::Viewer), app.trust.owner());
    let (mine, shared) = (app.own(&alice).await, app.shared(&admin).await);
    let absent = CredentialId::mint().to_string();

    for (what, person, id, owner, expected) in [
        ("one's own to one's own agent", &alice, &mine, &alice, (201, "")),
        ("one's own to another's agent", &alice, &mine, &bob, (422, "validation_failed")),
        ("another's to one's own agent", &bob, &mine, &bob, (404, "credential_not_found")),
        ("another's to the owner's agent", &bob, &mine, &alice, (404, "credential_not_found")),
        ("another's, by an admin", &admin, &mine, &alice, (404, "credential_not_found")),
        ("the tenant's, by a member", &bob, &shared, &bob, (201, "")),
        ("the tenant's, by an admin for a member's agent", &admin, &shared, &bob, (201, "")),
        ("the tenant's, by a viewer", &viewer, &shared, &viewer, (403, "not_allowed")),
        ("another tenant's", &rival, &shared, &rival, (404, "credential_not_found")),
        ("none", &bob, &absent, &bob, (404, "credential_not_found")),
    ] {
        let body = grant(id, AgentId::mint(), owner.user);
        let reply = app.on_behalf(Service::Engine, person).post("/internal/grants", &body).await;
        assert_eq!(reply.refusal(), expected, "{what}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_key_without_credentials_gets_at_none_through_an_agent() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let id = app.own(&me).await;
    let (agents_only, reader) = (
        me.with_scopes(&["agents:read", "agents:write"]),
        me.with_scopes(&["agents:write", "credentials:read"]),
    );

    for (person, expected) in [(&agents_only, (403, "scope_missing")), (&reader, (201, ""))] {
        let body = grant(&id, AgentId::mint(), me.user);
        let reply = app.on_behalf(Service::Engine, person).post("/internal/grants", &body).await;
        assert_eq!(reply.refusal(), expected, "{}", reply.text);
    }
    assert_eq!(app.trail(&me, &id).await[1..], ["grant refused scope_missing", "grant ok -"]);
}

#[tokio::test]
async fn a_service_alone_grants_nothing() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let body = grant(&app.own(&me).await, AgentId::mint(), me.user);

    let alone = app.service(Service::Engine, &me, None).post("/internal/grants", &body).await;
    let person = app.person(&me).post("/internal/grants", &body).await;
    let other_service = app
        .service(Service::Engine, &me, None)
        .header("x-subject-token", &me.token(Service::Eventsvc))
        .post("/internal/grants", &body)
        .await;

    assert_eq!(alone.refusal(), (422, "subject_required"));
    assert_eq!(person.refusal(), (403, "scope_missing"));
    assert_eq!(other_service.refusal(), (401, "unauthenticated"));
}

#[tokio::test]
async fn granting_again_gives_the_same_grant() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let body = grant(&app.own(&me).await, AgentId::mint(), me.user);
    let api = app.on_behalf(Service::Eventsvc, &me);

    let first = api.post("/internal/grants", &body).await.expect(201);
    let again = api.post("/internal/grants", &body).await.expect(201);
    let keyed =
        api.header("idempotency-key", "k").post("/internal/grants", &body).await.expect(201);
    let replayed = api.header("idempotency-key", "k").post("/internal/grants", &body).await;

    assert_eq!((&first, &first), (&again, &keyed));
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn taking_everything_from_a_grantee_leaves_the_others() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let id = app.own(&me).await;
    let (gone, kept, trigger) = (AgentId::mint(), AgentId::mint(), TriggerId::mint());
    app.granted(&me, &id, gone).await;
    app.granted(&me, &id, kept).await;
    let for_trigger = json!({
        "credential_id": id, "grantee": { "kind": "trigger", "id": trigger }, "owner": me.user,
    });
    app.on_behalf(Service::Eventsvc, &me).post("/internal/grants", &for_trigger).await.expect(201);

    let service = app.service(Service::Engine, &me, None);
    service.delete(&format!("/internal/grants/agent/{gone}")).await.expect(204);
    service.delete(&format!("/internal/grants/agent/{gone}")).await.expect(204);

    let engine = app.engine(&me);
    let refused = engine.post(&resolve_path(&id), &ask(gone, me.user)).await;
    assert_eq!(refused.refusal(), (403, "credential_not_granted"));
    engine.post(&resolve_path(&id), &ask(kept, me.user)).await.expect(200);
    let by_trigger = json!({
        "grantee": { "kind": "trigger", "id": trigger }, "owner": me.user, "purpose": "verify",
    });
    let eventsvc = app.service(Service::Eventsvc, &me, None);
    eventsvc.post(&resolve_path(&id), &by_trigger).await.expect(200);
    for path in ["/internal/grants/tool/x", "/internal/grants/agent/nonsense"] {
        assert_eq!(service.delete(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn taking_one_credential_from_a_grantee_leaves_its_others_and_shows_at_once() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let (taken, left, agent) = (app.own(&me).await, app.own(&me).await, AgentId::mint());
    app.granted(&me, &taken, agent).await;
    app.granted(&me, &left, agent).await;
    let engine = app.engine(&me);
    engine.post(&resolve_path(&taken), &ask(agent, me.user)).await.expect(200);
    let service = app.service(Service::Engine, &me, None);
    let path = |credential: &str| format!("/internal/grants/agent/{agent}/{credential}");

    service.delete(&path(&taken)).await.expect(204);

    let refused = engine.post(&resolve_path(&taken), &ask(agent, me.user)).await;
    assert_eq!(refused.refusal(), (403, "credential_not_granted"));
    engine.post(&resolve_path(&left), &ask(agent, me.user)).await.expect(200);
    // What is not there is not taken, and not written down.
    service.delete(&path(&taken)).await.expect(204);
    service.delete(&path(&CredentialId::mint().to_string())).await.expect(204);
    assert_eq!(
        app.trail(&me, &taken).await[2..],
        ["resolve ok -", "revoke ok -", "resolve refused not_granted"]
    );
    let foreign = app.service(Service::Engine, &app.trust.owner(), None);
    foreign.delete(&path(&left)).await.expect(204);
    engine.post(&resolve_path(&left), &ask(agent, me.user)).await.expect(200);
    assert_eq!(service.delete(&path("nonsense")).await.status, 404);
    assert_eq!(app.person(&me).delete(&path(&left)).await.refusal(), (403, "scope_missing"));
}
