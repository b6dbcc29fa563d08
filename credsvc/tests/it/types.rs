//! The catalogue of types, and a tenant's own.

use serde_json::{Value, json};
use shared_models::Role;
use sqlx::Connection as _;

use crate::{
    harness::{SECRET, TestApp, of},
    revocations::{in_the_way, waiting},
};

fn crm() -> Value {
    json!({
        "name": "acme_crm", "display_name": "Acme CRM", "category": "crm",
        "schema": {
            "type": "object", "required": ["api_key", "region"],
            "properties": {
                "api_key": { "type": "string", "title": "API key", "writeOnly": true, "pattern": "^ak_" },
                "region": { "type": "string", "enum": ["eu", "us"], "description": "Where your data is." },
            },
        },
        "call": {
            "base_url": "https://{region}.acme.example",
            "inject": { "in": "header", "name": "x-api-key", "value": "{api_key}" },
        },
    })
}

#[tokio::test]
async fn the_catalogue_has_what_a_form_needs() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    api.post("/v1/credential-types", &crm()).await.expect(201);

    let all = api.get("/v1/credential-types").await.expect(200);
    let mine = api.get("/v1/credential-types/acme_crm").await.expect(200);

    let items = all["items"].as_array().unwrap();
    assert!(items.len() > 23, "{}", items.len());
    let github = items.iter().find(|item| item["name"] == "github_api").unwrap();
    assert_eq!((&github["testable"], &github["own"]), (&json!(true), &json!(false)));
    assert_eq!(
        mine["fields"],
        json!([
            { "name": "api_key", "label": "API key", "help": null, "secret": true, "required": true,
              "type": "string", "default": null, "options": [] },
            { "name": "region", "label": "region", "help": "Where your data is.", "secret": false,
              "required": true, "type": "string", "default": null, "options": ["eu", "us"] },
        ])
    );
    assert_eq!((&mine["own"], &mine["callable"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn values_are_checked_against_a_tenants_own_type_and_every_error_is_told() {
    let app = TestApp::start().await;
    let (owner, rival) = (app.trust.owner(), app.trust.owner());
    app.person(&owner).post("/v1/credential-types", &crm()).await.expect(201);
    let body = |fields: Value| json!({ "type": "acme_crm", "credentials": fields });

    let wrong = body(json!({ "api_key": SECRET, "region": "moon" }));
    let refused = app.person(&owner).post(&of(&owner), &wrong).await;
    let right = body(json!({ "api_key": "ak_1", "region": "eu" }));
    app.person(&owner).post(&of(&owner), &right).await.expect(201);
    let foreign = app.person(&rival).post(&of(&rival), &right).await;

    assert_eq!(refused.refusal(), (422, "validation_failed"));
    let mut pointers: Vec<&str> = refused.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|error| error["pointer"].as_str())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/credentials/api_key", "/credentials/region"]);
    assert!(!refused.text.contains(SECRET), "{}", refused.text);
    assert_eq!(foreign.body["errors"][0]["pointer"], "/type");
}

#[tokio::test]
async fn a_type_that_makes_no_sense_is_refused_by_field() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let elsewhere = json!({ "type": "object", "$ref": "https://x.example/s" });

    for (what, change, pointer) in [
        ("a name with spaces", json!({ "name": "a b" }), "/name"),
        ("no label", json!({ "display_name": " " }), "/display_name"),
        ("no schema", json!({ "schema": { "type": 7 } }), "/schema"),
        ("a schema of something else", json!({ "schema": { "type": "array" } }), "/schema/type"),
        ("a schema from elsewhere", json!({ "schema": elsewhere }), "/schema"),
        ("a connection", json!({ "auth": "oauth2" }), "/auth"),
        ("an unknown field", json!({ "colour": "red" }), "/colour"),
        ("documentation that is code", json!({ "docs_url": "javascript:alert(1)" }), "/docs_url"),
    ] {
        let mut body = crm();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let reply = app.person(&owner).post("/v1/credential-types", &body).await;
        assert_eq!(reply.refusal(), (422, "validation_failed"), "{what}: {}", reply.text);
        let said = reply.body["errors"].as_array().unwrap();
        assert!(said.iter().any(|error| error["pointer"] == pointer), "{what}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_tenants_types_are_changed_by_administrators_and_kept_while_they_are_used() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (api, member) = (app.person(&owner), app.person(&owner.colleague(Role::Member)));
    let (all, path) = ("/v1/credential-types", "/v1/credential-types/acme_crm");
    api.post(all, &crm()).await.expect(201);
    let mut seeded = crm();
    seeded["name"] = json!("github_api");

    assert_eq!(member.delete(path).await.refusal(), (403, "scope_missing"));
    assert_eq!(api.post(all, &crm()).await.refusal(), (409, "credential_type_taken"));
    assert_eq!(api.post(all, &seeded).await.refusal(), (409, "credential_type_taken"));
    let body = json!({ "type": "acme_crm", "credentials": { "api_key": "ak_1", "region": "eu" } });
    let id = app.stored(&owner, &body).await;
    assert_eq!(api.delete(path).await.refusal(), (409, "credential_type_in_use"));
    let mut wider = crm();
    wider["schema"]["properties"]["region"]["enum"] = json!(["eu", "us", "jp"]);
    api.send(http::Method::PUT, path, Some(&wider)).await.expect(200);
    api.delete(&format!("{}/{id}", of(&owner))).await.expect(204);
    api.delete(path).await.expect(204);
    assert_eq!(api.get(path).await.refusal(), (404, "credential_type_not_found"));
}

#[tokio::test]
async fn a_type_that_is_removed_while_a_credential_of_it_is_stored_has_none() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (api, path) = (app.person(&owner), "/v1/credential-types/acme_crm");
    api.post("/v1/credential-types", &crm()).await.expect(201);
    app.own(&owner).await;
    let body = json!({ "type": "acme_crm", "credentials": { "api_key": "ak_1", "region": "eu" } });
    let lock = "select from credsvc.tenant_key for no key update";
    let (key, pid) = in_the_way(&app, lock).await;

    let removed = async {
        // Its fields are checked, and it is not yet stored.
        waiting(&app, 1, pid).await;
        api.delete(path).await.expect(204);
        key.close().await.unwrap();
    };
    let all = of(&owner);
    let (stored, ()) = tokio::join!(api.post(&all, &body), removed);

    assert_eq!(stored.refusal(), (422, "validation_failed"));
    assert_eq!(stored.body["errors"][0]["pointer"], "/type");
}

#[tokio::test]
async fn a_type_is_not_removed_under_a_credential_that_is_about_to_be_committed() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (api, path) = (app.person(&owner), "/v1/credential-types/acme_crm");
    api.post("/v1/credential-types", &crm()).await.expect(201);
    let body = json!({ "type": "acme_crm", "credentials": { "api_key": "ak_1", "region": "eu" } });
    let lock = "select from credsvc.audit_head for update";
    let (head, pid) = in_the_way(&app, lock).await;

    let removed = async {
        // It is stored, and waits for its place in the audit.
        waiting(&app, 1, pid).await;
        let released = async {
            waiting(&app, 2, pid).await;
            head.close().await.unwrap();
        };
        tokio::join!(api.delete(path), released).0
    };
    let all = of(&owner);
    let (stored, removed) = tokio::join!(api.post(&all, &body), removed);

    stored.expect(201);
    assert_eq!(removed.refusal(), (409, "credential_type_in_use"));
}
