//! Reading: who sees what, and that people see it masked.

use serde_json::json;
use shared_models::{AgentId, CredentialId, Role, Service, UserId};

use crate::harness::{SECRET, TestApp, at};

#[tokio::test]
async fn a_users_credential_needs_that_users_id_and_that_user() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let (alice, bob) = (admin.colleague(Role::Member), admin.colleague(Role::Member));
    let rival = app.trust.owner();
    let id = app.own(&alice).await;

    for (who, person, user, status) in [
        ("its owner, with the id", &alice, Some(alice.user), 200),
        ("its owner, without", &alice, None, 404),
        ("its owner, with another id", &alice, Some(bob.user), 404),
        ("a colleague, with the owner's id", &bob, Some(alice.user), 404),
        ("a colleague, with their own id", &bob, Some(bob.user), 404),
        ("a colleague, without", &bob, None, 404),
        ("an admin, with the owner's id", &admin, Some(alice.user), 404),
        ("another tenant, with the owner's id", &rival, Some(alice.user), 404),
    ] {
        let query = user.map(|user| format!("?user_id={user}")).unwrap_or_default();
        let reply = app.person(person).get(&format!("{}{query}", at(&alice, &id))).await;
        assert_eq!(reply.status, status, "{who}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_service_sees_no_more_than_the_person_it_acts_for() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let (alice, bob) = (admin.colleague(Role::Member), admin.colleague(Role::Member));
    let id = app.own(&alice).await;
    let path = format!("{}?user_id={}", at(&alice, &id), alice.user);

    for (person, status) in [(&alice, 200), (&bob, 404)] {
        assert_eq!(app.on_behalf(Service::Engine, person).get(&path).await.status, status);
    }
}

#[tokio::test]
async fn the_tenants_credential_is_everyones_to_see_masked() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let rival = app.trust.owner();
    let id = app.shared(&admin).await;

    for role in [Role::Owner, Role::Admin, Role::Member, Role::Viewer] {
        let found = app.person(&admin.colleague(role)).get(&at(&admin, &id)).await.expect(200);
        assert_eq!(found["credentials"], json!({ "token": "••••7x9z" }), "{role}");
        assert_eq!((&found["masked"], &found["user_id"]), (&json!(true), &json!(null)));
    }
    let foreign = app.person(&rival).get(&at(&admin, &id)).await;
    let own_path = app.person(&rival).get(&at(&rival, &id)).await;
    assert_eq!(foreign.refusal(), (404, "not_found"));
    assert_eq!(own_path.refusal(), (404, "credential_not_found"));
}

#[tokio::test]
async fn short_and_structured_values_are_hidden_altogether() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let fields = json!({ "pin": "1234", "port": 5432, "nested": { "key": "0123456789abcdef" } });
    let id = app.stored(&owner, &json!({ "user_id": null, "credentials": fields })).await;

    let found = app.person(&owner).get(&at(&owner, &id)).await.expect(200);

    assert_eq!(found["credentials"], json!({ "pin": "••••", "port": "••••", "nested": "••••" }));
}

#[tokio::test]
async fn a_service_sees_plaintext_only_inside_a_grant() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let alice = admin.colleague(Role::Member);
    let (mine, shared) = (app.own(&alice).await, app.shared(&admin).await);
    let (granted, other) = (AgentId::mint(), AgentId::mint());
    app.granted(&alice, &mine, granted).await;
    app.granted(&alice, &shared, granted).await;
    let engine = app.engine(&alice);
    let idle = app.service(Service::Engine, &alice, None);
    let plain = json!({ "token": SECRET });
    let masked = json!({ "token": "••••7x9z" });

    for (what, api, id, query, expected) in [
        (
            "granted",
            &engine,
            &mine,
            format!("agent_id={granted}&user_id={}", alice.user),
            Ok(&plain),
        ),
        ("granted, no owner said", &engine, &mine, format!("agent_id={granted}"), Err(403)),
        (
            "another owner",
            &engine,
            &mine,
            format!("agent_id={granted}&user_id={}", admin.user),
            Err(403),
        ),
        (
            "another agent",
            &engine,
            &mine,
            format!("agent_id={other}&user_id={}", alice.user),
            Err(403),
        ),
        ("no run", &idle, &mine, format!("agent_id={granted}&user_id={}", alice.user), Err(403)),
        ("the tenant's, granted", &engine, &shared, format!("agent_id={granted}"), Ok(&plain)),
        ("the tenant's, not granted", &engine, &shared, format!("agent_id={other}"), Err(403)),
        (
            "nobody named, the owner's id",
            &engine,
            &mine,
            format!("user_id={}", alice.user),
            Ok(&masked),
        ),
        ("nobody named, no id", &engine, &mine, String::new(), Err(404)),
        ("nobody named, the tenant's", &engine, &shared, String::new(), Ok(&masked)),
    ] {
        let reply = api.get(&format!("{}?{query}", at(&alice, id))).await;
        match expected {
            Ok(fields) => {
                assert_eq!((reply.status, &reply.body["credentials"]), (200, fields), "{what}");
            }
            Err(status) => assert_eq!(reply.status, status, "{what}: {}", reply.text),
        }
    }
}

#[tokio::test]
async fn a_person_who_names_an_agent_still_sees_the_mask() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (id, agent) = (app.shared(&owner).await, AgentId::mint());
    app.granted(&owner, &id, agent).await;

    let reply = app.person(&owner).get(&format!("{}?agent_id={agent}", at(&owner, &id))).await;

    assert_eq!(reply.expect(200)["masked"], json!(true));
}

#[tokio::test]
async fn what_names_nothing_is_404_and_what_is_unknown_422() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (api, id) = (app.person(&owner), app.own(&owner).await);
    let absent = CredentialId::mint().to_string();

    assert_eq!(api.get(&at(&owner, &absent)).await.refusal(), (404, "credential_not_found"));
    assert_eq!(api.get(&at(&owner, "crd_nonsense")).await.refusal(), (404, "not_found"));
    assert_eq!(api.get(&format!("{}?colour=red", at(&owner, &id))).await.status, 422);
    assert_eq!(api.get(&format!("{}?user_id=me", at(&owner, &id))).await.status, 422);
    let of_another = format!("{}?user_id={}", at(&owner, &id), UserId::mint());
    assert_eq!(api.get(&of_another).await.refusal(), (404, "credential_not_found"));
    let expired = app.api.token(&owner.expired_token(Service::Credsvc));
    assert_eq!(expired.get(&at(&owner, &id)).await.refusal(), (401, "unauthenticated"));
    let scopeless = app.person(&owner.with_scopes(&["agents:read"]));
    assert_eq!(scopeless.get(&at(&owner, &id)).await.refusal(), (403, "scope_missing"));
}
