//! Changing and deleting.

use serde_json::json;
use shared_models::{AgentId, Role, Service};

use crate::{
    harness::{SECRET, TestApp, ask, at, resolve_path},
    revocations::{in_the_way, waiting},
};

#[tokio::test]
async fn a_patch_of_the_secret_makes_a_new_version_and_one_of_the_name_does_not() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let body = json!({ "credentials": { "token": SECRET, "old": "gone soon" }, "meta": { "a": 1, "b": 2 } });
    let id = app.stored(&me, &body).await;
    let agent = AgentId::mint();
    app.granted(&me, &id, agent).await;
    let api = app.person(&me);

    let renamed =
        api.patch(&at(&me, &id), &json!({ "name": "new", "meta": { "a": null, "c": 3 } })).await;
    let (tag, renamed) = (renamed.header("etag").unwrap().to_owned(), renamed.expect(200));
    let changed = json!({ "credentials": { "old": null, "more": "something else" } });
    let changed = api.header("if-match", &tag).patch(&at(&me, &id), &changed).await.expect(200);

    assert_eq!((&renamed["name"], &renamed["version"]), (&json!("new"), &json!(1)));
    assert_eq!(renamed["meta"], json!({ "b": 2, "c": 3 }));
    assert_eq!(changed["version"], json!(2));
    assert_eq!(changed["credentials"], json!({ "token": "••••7x9z", "more": "••••else" }));
    let resolved = app.engine(&me).post(&resolve_path(&id), &ask(agent, me.user)).await.expect(200);
    assert_eq!(resolved["credentials"], json!({ "token": SECRET, "more": "something else" }));
    assert_eq!(resolved["version"], json!(2));
    // Whoever keeps the secret hears of either: both end leases.
    let told = ["credential.created", "credential.updated", "credential.updated"];
    assert_eq!(app.emitted().await, told);
    assert_eq!(
        app.trail(&me, &id).await,
        ["create ok -", "grant ok -", "update ok -", "update ok -", "resolve ok -"]
    );
}

#[tokio::test]
async fn an_edit_of_an_old_version_is_refused() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let id = app.own(&me).await;
    let api = app.person(&me);
    let first = api.get(&format!("{}?user_id={}", at(&me, &id), me.user)).await;
    let tag = first.header("etag").unwrap().to_owned();

    api.header("if-match", &tag).patch(&at(&me, &id), &json!({ "name": "one" })).await.expect(200);
    let late = api.header("if-match", &tag).patch(&at(&me, &id), &json!({ "name": "two" })).await;

    assert_eq!(late.refusal(), (412, "precondition_failed"));
}

#[tokio::test]
async fn a_patch_is_validated_like_a_new_credential() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    app.stored(&me, &json!({ "name": "taken", "credentials": { "token": SECRET } })).await;
    let body = json!({ "type": "http_bearer", "credentials": { "token": SECRET } });
    let id = app.stored(&me, &body).await;

    for (patch, expected) in [
        (json!({ "name": null }), (422, "validation_failed")),
        (json!({ "name": "" }), (422, "validation_failed")),
        (json!({ "name": "taken" }), (409, "credential_name_taken")),
        (json!({ "credentials": null }), (422, "validation_failed")),
        (json!({ "credentials": "text" }), (422, "validation_failed")),
        (json!({ "credentials": { "token": null } }), (422, "validation_failed")),
        (json!({ "credentials": { "more": "x".repeat(64 * 1024) } }), (413, "payload_too_large")),
        (json!({ "type": "generic" }), (422, "validation_failed")),
        (json!([]), (422, "validation_failed")),
    ] {
        let reply = app.person(&me).patch(&at(&me, &id), &patch).await;
        assert_eq!(reply.refusal(), expected, "{}", reply.text);
        assert!(!reply.text.contains(SECRET), "{}", reply.text);
    }
}

#[tokio::test]
async fn only_its_owner_changes_a_users_credential_and_only_admins_the_tenants() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let (alice, bob) = (admin.colleague(Role::Member), admin.colleague(Role::Member));
    let viewer = admin.colleague(Role::Viewer);
    let (mine, shared) = (app.own(&alice).await, app.shared(&admin).await);
    let patch = json!({ "meta": { "a": 1 } });

    for (who, person, id, expected) in [
        ("the owner", &alice, &mine, (200, "")),
        ("a colleague", &bob, &mine, (404, "credential_not_found")),
        ("an admin", &admin, &mine, (404, "credential_not_found")),
        ("a viewer", &viewer, &mine, (403, "scope_missing")),
        ("an admin, the tenant's", &admin, &shared, (200, "")),
        ("a member, the tenant's", &bob, &shared, (403, "not_allowed")),
        ("a viewer, the tenant's", &viewer, &shared, (403, "scope_missing")),
        ("another tenant", &app.trust.owner(), &shared, (404, "not_found")),
    ] {
        let changed = app.person(person).patch(&at(&admin, id), &patch).await;
        assert_eq!(changed.refusal(), expected, "{who}: {}", changed.text);
        if expected.0 != 200 {
            assert_eq!(
                app.person(person).delete(&at(&admin, id)).await.refusal(),
                expected,
                "{who}"
            );
        }
    }
}

#[tokio::test]
async fn a_service_changes_no_more_than_the_person_it_acts_for_may() {
    let app = TestApp::start().await;
    let alice = app.trust.owner().colleague(Role::Member);
    let mut demoted = alice.clone();
    demoted.role = Role::Viewer;
    let (id, patch) = (app.own(&alice).await, json!({ "name": "new" }));

    let alone = app.service(Service::Eventsvc, &alice, None).patch(&at(&alice, &id), &patch).await;
    let viewer = app.on_behalf(Service::Eventsvc, &demoted).patch(&at(&alice, &id), &patch).await;
    let owner = app.on_behalf(Service::Eventsvc, &alice).patch(&at(&alice, &id), &patch).await;

    assert_eq!(alone.refusal(), (422, "subject_required"));
    assert_eq!(viewer.refusal(), (403, "not_allowed"));
    assert_eq!(owner.status, 200);
}

#[tokio::test]
async fn a_deleted_credential_is_gone_for_everyone() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let id = app.own(&me).await;
    let api = app.person(&me);

    api.delete(&at(&me, &id)).await.expect(204);

    assert_eq!(api.get(&format!("{}?user_id={}", at(&me, &id), me.user)).await.status, 404);
    assert_eq!(api.patch(&at(&me, &id), &json!({ "name": "x" })).await.status, 404);
    assert_eq!(api.delete(&at(&me, &id)).await.refusal(), (404, "credential_not_found"));
    assert_eq!(app.emitted().await, ["credential.created", "credential.deleted"]);
}

#[tokio::test]
async fn a_credential_in_use_is_deleted_by_force_only() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let (id, agent) = (app.own(&me).await, AgentId::mint());
    app.granted(&me, &id, agent).await;
    let api = app.person(&me);

    let refused = api.delete(&at(&me, &id)).await;
    assert_eq!(refused.refusal(), (409, "credential_in_use"));
    assert!(refused.text.contains(&agent.to_string()), "{}", refused.text);
    app.engine(&me).post(&resolve_path(&id), &ask(agent, me.user)).await.expect(200);

    api.delete(&format!("{}?force=true", at(&me, &id))).await.expect(204);
    let resolved = app.engine(&me).post(&resolve_path(&id), &ask(agent, me.user)).await;
    assert_eq!(resolved.refusal(), (404, "credential_not_found"));
}

#[tokio::test]
async fn what_the_service_changes_itself_at_the_same_time_is_no_conflict_with_an_edit() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let id = app.own(&me).await;
    let (api, path) = (app.person(&me), at(&me, &id));
    let view = format!("{path}?user_id={}", me.user);

    for (name, conditional, status) in [("b", false, 200), ("c", true, 412)] {
        let tag = api.get(&view).await.header("etag").unwrap().to_owned();
        let api = if conditional { api.header("if-match", &tag) } else { api.clone() };
        let lock = "select from credsvc.credential for update";
        let (mut row, pid) = in_the_way(&app, lock).await;
        let renewed = async {
            waiting(&app, 1, pid).await;
            // As a renewal, or expiry, does.
            let sql = "update credsvc.credential set revision = revision + 1; commit";
            sqlx::raw_sql(sql).execute(&mut row).await.unwrap();
        };
        let body = json!({ "name": name });
        let (edited, ()) = tokio::join!(api.patch(&path, &body), renewed);
        assert_eq!(edited.status, status, "{}", edited.text);
    }

    assert_eq!(api.get(&view).await.expect(200)["name"], "b");
}
