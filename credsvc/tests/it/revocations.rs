//! Taking tokens back at their provider, in the ways that providers have for it.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use testkit::{
    Answer, Stub, eventually,
    idp::{CLIENT_ID, CLIENT_SECRET},
};

use crate::{connect::Connected, harness::TestApp};

/// A provider that takes tokens back elsewhere, and answers as it is told.
async fn elsewhere(this: &Connected, more: Value) -> (Stub, Arc<Mutex<Answer>>) {
    let says = Arc::new(Mutex::new(Answer::Json(200, json!({}))));
    let answer = says.clone();
    let stub = Stub::start(move |_| answer.lock().unwrap().clone()).await;
    takes_back_at(this, &stub, more).await;
    (stub, says)
}

/// From now on the client's tokens are taken back there.
pub(crate) async fn takes_back_at(this: &Connected, stub: &Stub, more: Value) {
    let mut settings = this.idp.settings();
    let fields = settings.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    let at = format!("{}{}", stub.url(), more["revoke_url"].as_str().unwrap());
    fields.insert("revoke_url".into(), at.into());
    let path = format!("/v1/oauth-clients/{}", this.client);
    let api = this.app.person(&this.owner);
    api.patch(&path, &json!({ "settings": settings })).await.expect(200);
}

async fn revoke(this: &Connected, id: &str) -> Value {
    let path = format!("/v1/credentials/{id}/revoke");
    this.app.person(&this.owner).post(&path, &json!({})).await.expect(200)["provider"].clone()
}

#[tokio::test]
async fn a_provider_that_says_no_with_status_200_has_not_taken_anything_back() {
    let (this, id) = Connected::with_account().await;
    let (stub, says) = elsewhere(&this, json!({ "revoke_url": "/revoke" })).await;

    for (answer, told) in [
        (Answer::Json(200, json!({ "ok": false, "error": "invalid_auth" })), "failed"),
        (Answer::Json(200, json!({ "error": "unsupported_token_type" })), "failed"),
        (Answer::Json(500, json!({})), "failed"),
        (Answer::Reset, "failed"),
        (Answer::Json(200, json!({ "ok": true, "revoked": true })), "revoked"),
        (Answer::Raw(200, Vec::new(), Vec::new()), "revoked"),
    ] {
        *says.lock().unwrap() = answer.clone();
        assert_eq!(revoke(&this, &id).await, told, "{answer:?}");
        // Whatever it says, nobody gets it any more.
        assert_eq!(this.lease(&id).await.refusal(), (409, "credential_revoked"));
    }
    assert!(stub.requests().iter().all(|request| request.method == "POST"));
}

#[tokio::test]
async fn one_token_is_deleted_where_that_is_the_providers_way_and_others_of_the_account_stay() {
    let (this, id) = Connected::with_account().await;
    let first = this.idp.newest();
    let second = this.connect(json!({})).await;
    this.app.granted(&this.owner, &second, this.agent).await;
    let settings =
        json!({ "revoke_by": "delete", "revoke_url": "/applications/{client_id}/token" });
    let (stub, says) = elsewhere(&this, settings).await;
    *says.lock().unwrap() = Answer::Raw(204, Vec::new(), Vec::new());

    assert_eq!(revoke(&this, &id).await, "revoked");

    let asked = &stub.requests()[0];
    assert_eq!(asked.method, "DELETE");
    assert_eq!(asked.path, format!("/applications/{CLIENT_ID}/token"));
    let basic = STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
    assert_eq!(asked.header("authorization"), format!("Basic {basic}"));
    assert_eq!(asked.json(), json!({ "access_token": first }));
    let other = this.lease(&second).await.expect(200);
    assert_eq!(other["credentials"]["access_token"], this.idp.newest());
    *says.lock().unwrap() = Answer::Json(404, json!({ "message": "Not Found" }));
    assert_eq!(revoke(&this, &id).await, "failed");
}

const DUE: &str = "update credsvc.credential set refresh_due_at = now()";

/// Keeps whoever comes to these rows waiting until it is ended.
pub(crate) async fn in_the_way(app: &TestApp, statement: &'static str) -> (PgConnection, i32) {
    let mut admin = app.db.admin().await;
    let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut admin).await.unwrap();
    sqlx::raw_sql("begin").execute(&mut admin).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut admin).await.unwrap();
    (admin, pid)
}

/// Waits until as many wait for a lock, the first of them for this one.
pub(crate) async fn waiting(app: &TestApp, many: i64, first: i32) {
    let mut admin = app.db.admin().await;
    eventually("somebody to wait for a lock", async || {
        let (all, behind): (i64, i64) = sqlx::query_as(
            "select count(*), count(*) filter (where $1 = any (pg_blocking_pids(pid)))
             from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .bind(first)
        .fetch_one(&mut admin)
        .await
        .unwrap();
        (all == many && behind > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_renewal_that_comes_back_after_the_revocation_has_its_tokens_taken_back_too() {
    let (this, id) = Connected::with_account().await;
    let before = this.idp.newest_refresh();
    this.app.tamper(DUE).await;
    let lock = "select from credsvc.tenant_key for no key update";
    let (key, pid) = in_the_way(&this.app, lock).await;

    let revoked = async {
        // Its tokens are here, and not yet stored.
        waiting(&this.app, 1, pid).await;
        let told = revoke(&this, &id).await;
        key.close().await.unwrap();
        told
    };
    let (tended, told) = tokio::join!(this.app.app.tend(), revoked);

    tended.unwrap();
    assert_eq!((told, this.idp.refreshes()), (json!("revoked"), 1));
    assert_eq!(this.idp.taken_back(), [before, this.idp.newest_refresh()]);
    assert_eq!(this.lease(&id).await.refusal(), (409, "credential_revoked"));
}

#[tokio::test]
async fn a_renewal_that_comes_back_during_the_revocation_is_what_the_provider_is_told_of() {
    let (this, id) = Connected::with_account().await;
    this.app.tamper(DUE).await;
    let lock = "select from credsvc.tenant_key for no key update";
    let (key, keys) = in_the_way(&this.app, lock).await;

    let revoked = async {
        waiting(&this.app, 1, keys).await;
        let (row, rows) = in_the_way(&this.app, "select from credsvc.credential for update").await;
        key.close().await.unwrap();
        // First in the row: the renewal; behind it the revocation, which has read what was there before.
        waiting(&this.app, 1, rows).await;
        let released = async {
            waiting(&this.app, 2, rows).await;
            row.close().await.unwrap();
        };
        tokio::join!(revoke(&this, &id), released).0
    };
    let (tended, told) = tokio::join!(this.app.app.tend(), revoked);

    tended.unwrap();
    assert_eq!((told, this.idp.refreshes()), (json!("revoked"), 1));
    let (newest, told) = (this.idp.newest_refresh(), this.idp.taken_back());
    assert!(told.contains(&newest), "{told:?}");
    assert_eq!(this.lease(&id).await.refusal(), (409, "credential_revoked"));
}

#[tokio::test]
async fn a_client_that_was_saved_with_a_setting_that_is_none_any_more_is_usable_after_the_upgrade()
{
    let this = Connected::ready().await;
    let (_, link) = this.link(json!({})).await;
    let old =
        r#"update credsvc.provider_config set settings = settings || '{"revoke_client": true}'"#;
    this.app.tamper(old).await;
    assert_eq!(this.app.api.get(&link).await.status, 500);

    let wanted = |name: &str| name.contains("forget revoke client");
    let upgrade = credsvc::MIGRATOR.iter().find(|migration| wanted(&migration.description));
    let url = this.app.db.url_as("credsvc_owner");
    let mut owner = PgConnection::connect(url.expose_secret()).await.unwrap();
    sqlx::raw_sql(upgrade.unwrap().sql.clone()).execute(&mut owner).await.unwrap();

    this.open(&link).await;
}
