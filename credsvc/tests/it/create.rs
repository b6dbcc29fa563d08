//! Storing: whose it becomes, what is refused, and doing it once.

use serde_json::{Value, json};
use shared_models::{Role, Service, UserId};

use crate::harness::{SECRET, TestApp, at, of};

fn body(more: Value) -> Value {
    let mut body = json!({ "credentials": { "token": SECRET } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn what_is_not_said_gets_the_seeds_defaults() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();

    let id = app.stored(&owner, &body(json!({}))).await;

    let path = format!("{}?user_id={}", at(&owner, &id), owner.user);
    let found = app.person(&owner).get(&path).await.expect(200);
    assert_eq!(found["user_id"], json!(owner.user));
    assert_eq!((&found["type"], &found["environment"]), (&json!("generic"), &json!("production")));
    assert_eq!(found["name"], json!(format!("generic-{}", &id[id.len() - 12..])));
    assert_eq!(found["meta"], json!({}));
    assert_eq!(found["created_at"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
    assert_eq!(app.emitted().await, ["credential.created"]);
    assert_eq!(app.trail(&owner, &id).await, ["create ok -", "read ok -"]);
}

#[tokio::test]
async fn whose_it_becomes_depends_on_who_says_what() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let member = admin.colleague(Role::Member);
    let (mine, nobodys, anothers) = (
        json!({ "user_id": member.user }),
        json!({ "user_id": null }),
        json!({ "user_id": UserId::mint() }),
    );

    for (who, person, said, expected) in [
        ("a member, silent", &member, json!({}), (201, "")),
        ("a member, own id", &member, mine.clone(), (201, "")),
        ("a member, null", &member, nobodys.clone(), (403, "not_allowed")),
        ("a member, another's id", &member, anothers.clone(), (422, "validation_failed")),
        ("an admin, null", &admin, nobodys.clone(), (201, "")),
        ("an admin, another's id", &admin, mine.clone(), (422, "validation_failed")),
    ] {
        let reply = app.person(person).post(&of(&admin), &body(said)).await;
        assert_eq!(reply.refusal(), expected, "{who}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_service_says_whose_it_is_and_shows_the_persons_token() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let (member, viewer) = (admin.colleague(Role::Member), admin.colleague(Role::Viewer));
    let said = |user: Value| body(json!({ "user_id": user }));
    let path = of(&admin);

    for path in [path.as_str(), "/internal/credentials"] {
        let alone = app.service(Service::Eventsvc, &admin, None);
        assert_eq!(alone.post(path, &said(json!(null))).await.refusal(), (422, "subject_required"));
        for (who, person, body, expected) in [
            ("silent", &member, body(json!({})), (422, "validation_failed")),
            ("the member's", &member, said(json!(member.user)), (201, "")),
            ("another's", &member, said(json!(admin.user)), (422, "validation_failed")),
            ("the tenant's, by a member", &member, said(json!(null)), (403, "not_allowed")),
            ("the tenant's, by an admin", &admin, said(json!(null)), (201, "")),
            ("a viewer's", &viewer, said(json!(viewer.user)), (403, "not_allowed")),
        ] {
            let reply = app.on_behalf(Service::Eventsvc, person).post(path, &body).await;
            assert_eq!(reply.refusal(), expected, "{path} {who}: {}", reply.text);
        }
    }
    let person = app.person(&member).post("/internal/credentials", &body(json!({}))).await;
    assert_eq!(person.refusal(), (403, "not_allowed"));
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_by_field() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);

    for (what, body, pointer) in [
        ("nothing", json!({}), ""),
        ("no fields", json!({ "credentials": {} }), "/credentials"),
        ("a text", json!({ "credentials": SECRET }), "/credentials"),
        ("an unknown field", body(json!({ "secret": "x" })), "/secret"),
        ("an empty name", body(json!({ "name": " " })), "/name"),
        ("a name with NUL", body(json!({ "name": "a\u{0}" })), "/name"),
        ("an unknown type", body(json!({ "type": "telepathy" })), "/type"),
        (
            "a field that the type needs",
            body(json!({ "type": "http_basic" })),
            "/credentials/username",
        ),
        ("an unknown environment", body(json!({ "environment": "moon" })), "/environment"),
        ("metadata with NUL", body(json!({ "meta": { "a": "\u{0}" } })), "/meta"),
        ("metadata that is a list", body(json!({ "meta": [] })), "/meta"),
        ("a user who is none", body(json!({ "user_id": "me" })), "/user_id"),
        ("a field with NUL", json!({ "credentials": { "\u{0}": "a" } }), "/credentials"),
    ] {
        let reply = api.post(&of(&owner), &body).await;
        assert_eq!(reply.refusal(), (422, "validation_failed"), "{what}: {}", reply.text);
        let pointers: Vec<&str> = reply.body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|e| e["pointer"].as_str())
            .collect();
        assert!(pointers.contains(&pointer), "{what}: {}", reply.text);
        assert!(!reply.text.contains(SECRET), "{what}: {}", reply.text);
    }
}

#[tokio::test]
async fn malformed_and_oversized_bodies_are_refused_as_such() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner).header("content-type", "application/json");

    let malformed =
        api.raw(http::Method::POST, &of(&owner), b"{\"credentials\": {,}}".to_vec()).await;
    let large = json!({ "credentials": { "token": "x".repeat(64 * 1024) } });
    let larger = json!({ "credentials": { "token": "x".repeat(3 * 1024 * 1024) } });

    assert_eq!(malformed.refusal(), (400, "malformed_json"));
    assert!(malformed.text.contains("line 1, column"), "{}", malformed.text);
    assert_eq!(api.post(&of(&owner), &large).await.refusal(), (413, "payload_too_large"));
    assert_eq!(api.post(&of(&owner), &larger).await.refusal(), (413, "payload_too_large"));
}

#[tokio::test]
async fn a_name_is_taken_once_per_environment_until_it_is_free_again() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let named = body(json!({ "name": "github" }));

    let first = app.stored(&owner, &named).await;
    assert_eq!(api.post(&of(&owner), &named).await.refusal(), (409, "credential_name_taken"));
    app.stored(&owner, &body(json!({ "name": "github", "environment": "staging" }))).await;
    api.delete(&at(&owner, &first)).await.expect(204);
    app.stored(&owner, &named).await;
    app.stored(&app.trust.owner(), &named).await;
}

#[tokio::test]
async fn a_repeated_request_with_the_same_key_stores_once() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner).header("idempotency-key", "one");

    let first = api.post(&of(&owner), &body(json!({}))).await;
    let again = api.post(&of(&owner), &body(json!({}))).await;
    let other =
        api.post(&of(&owner), &json!({ "credentials": { "token": "another secret" } })).await;

    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(other.refusal(), (422, "idempotency_key_reused"));
    assert_eq!(app.emitted().await, ["credential.created"]);
}

#[tokio::test]
async fn the_first_key_of_a_tenant_is_made_once() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();

    let (api, path) = (app.person(&owner), of(&owner));
    let request = body(json!({}));
    let all = (0..8).map(|_| api.post(&path, &request));
    for reply in futures::future::join_all(all).await {
        reply.expect(201);
    }

    let mut admin = app.db.admin().await;
    let keys: i64 = sqlx::query_scalar("select count(*) from credsvc.tenant_key")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(keys, 1);
}

#[tokio::test]
async fn a_services_key_for_one_person_is_not_its_key_for_another() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let other = admin.colleague(Role::Admin);
    let stored = async |person| {
        let api = app.on_behalf(Service::Eventsvc, person).header("idempotency-key", "k");
        let body = body(json!({ "user_id": null }));
        api.post("/internal/credentials", &body).await.expect(201)["credential_id"].clone()
    };

    let (first, again, others) = (stored(&admin).await, stored(&admin).await, stored(&other).await);

    assert_eq!(first, again);
    assert_ne!(first, others);
}
