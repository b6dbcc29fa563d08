//! Deleted credentials, brought back.

use serde_json::json;
use shared_models::{AgentId, Role};

use crate::harness::{SECRET, TestApp, ask, at, resolve_path};

fn restore(id: &str) -> String {
    format!("/v1/credentials/{id}/restore")
}

#[tokio::test]
async fn a_deleted_credential_is_brought_back_by_its_owner_and_given_anew_to_who_used_it() {
    let app = TestApp::start().await;
    let (me, agent) = (app.trust.owner(), AgentId::mint());
    let (api, engine) = (app.person(&me), app.engine(&me));
    let id = app.own(&me).await;
    app.granted(&me, &id, agent).await;
    let asked = ask(agent, me.user);
    api.delete(&format!("{}?force=true", at(&me, &id))).await;
    assert_eq!(
        engine.post(&resolve_path(&id), &asked).await.refusal(),
        (404, "credential_not_found")
    );
    let colleague = app.person(&me.colleague(Role::Owner));
    let theirs = colleague.post(&restore(&id), &json!({})).await;

    let back = api.post(&restore(&id), &json!({})).await.expect(200);
    let again = api.post(&restore(&id), &json!({})).await.expect(200);

    assert_eq!(theirs.refusal(), (404, "credential_not_found"), "a person's own is theirs alone");
    assert_eq!((&back["credential_id"], &back), (&json!(id), &again));
    assert!(!back.to_string().contains(SECRET), "{back}");
    let refused = engine.post(&resolve_path(&id), &asked).await;
    assert_eq!(refused.refusal(), (403, "credential_not_granted"));
    app.granted(&me, &id, agent).await;
    let leased = engine.post(&resolve_path(&id), &asked).await.expect(200);
    assert_eq!(leased["credentials"]["token"], SECRET);
    assert_eq!(
        app.emitted().await,
        ["credential.created", "credential.deleted", "credential.updated"]
    );
    assert_eq!(
        app.trail(&me, &id).await,
        [
            "create ok -",
            "grant ok -",
            "delete ok -",
            "resolve refused not_found",
            "restore refused not_found",
            "restore ok -",
            "resolve refused not_granted",
            "grant ok -",
            "resolve ok -"
        ]
    );
}

#[tokio::test]
async fn what_is_older_than_a_month_or_never_was_stays_away_and_a_name_is_not_taken_twice() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let api = app.person(&me);
    let named = json!({ "name": "n", "credentials": { "token": SECRET } });
    let (first, old) = (app.stored(&me, &named).await, app.own(&me).await);
    for id in [&first, &old] {
        assert_eq!(api.delete(&at(&me, id)).await.status, 204);
    }
    app.stored(&me, &named).await;
    app.tamper(
        "update credsvc.credential set deleted_at = deleted_at - interval '32 days' where name <> 'n'",
    )
    .await;
    let never = shared_models::CredentialId::mint().to_string();

    let taken = api.post(&restore(&first), &json!({})).await;
    let late = api.post(&restore(&old), &json!({})).await;
    let unknown = api.post(&restore(&never), &json!({})).await;

    assert_eq!(taken.refusal(), (409, "credential_name_taken"));
    assert_eq!(late.refusal(), (404, "credential_not_found"));
    assert_eq!(unknown.refusal(), (404, "credential_not_found"));
    let viewer = app.person(&me.colleague(Role::Viewer)).post(&restore(&first), &json!({})).await;
    assert_eq!(viewer.status, 403);
}
