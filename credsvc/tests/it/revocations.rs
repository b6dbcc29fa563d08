//! Taking tokens back at their provider, in the ways that providers have for it.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{
    Answer, Stub,
    idp::{CLIENT_ID, CLIENT_SECRET},
};

use crate::connect::Connected;

/// A provider that takes tokens back elsewhere, and answers as it is told.
async fn elsewhere(this: &Connected, more: Value) -> (Stub, Arc<Mutex<Answer>>) {
    let says = Arc::new(Mutex::new(Answer::Json(200, json!({}))));
    let answer = says.clone();
    let stub = Stub::start(move |_| answer.lock().unwrap().clone()).await;
    let mut settings = this.idp.settings();
    let fields = settings.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    let at = format!("{}{}", stub.url(), more["revoke_url"].as_str().unwrap());
    fields.insert("revoke_url".into(), at.into());
    let path = format!("/v1/oauth-clients/{}", this.client);
    let api = this.app.person(&this.owner);
    api.patch(&path, &json!({ "settings": settings })).await.expect(200);
    (stub, says)
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
async fn a_grant_is_deleted_where_that_is_the_providers_way() {
    let (this, id) = Connected::with_account().await;
    let settings = json!({ "revoke_by": "grant", "revoke_url": "/applications/{client_id}/grant" });
    let (stub, says) = elsewhere(&this, settings).await;
    *says.lock().unwrap() = Answer::Raw(204, Vec::new(), Vec::new());

    assert_eq!(revoke(&this, &id).await, "revoked");

    let asked = &stub.requests()[0];
    assert_eq!(asked.method, "DELETE");
    assert_eq!(asked.path, format!("/applications/{CLIENT_ID}/grant"));
    let basic = STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
    assert_eq!(asked.header("authorization"), format!("Basic {basic}"));
    assert_eq!(asked.json(), json!({ "access_token": this.idp.newest() }));
    *says.lock().unwrap() = Answer::Json(404, json!({ "message": "Not Found" }));
    assert_eq!(revoke(&this, &id).await, "failed");
}
