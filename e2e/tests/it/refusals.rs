//! What is refused at the public address, and how.

use e2e::{Fleet, Scene, sign};
use http::Method;
use serde_json::{Value, json};
use testkit::{Answer, Api, Stub};

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_status_and_its_words() {
    let outside = Stub::start(|_| Answer::Json(200, json!({}))).await;
    let fleet = Fleet::start(&[]).await;
    let (api, open) = (fleet.api(), Api::at(fleet.url()));
    let url = format!("{}/act", outside.url());
    let scene =
        Scene::make(&api, &fleet.tenant, "refuse", "read", &url, "secret-secret-7", &json!([]))
            .await;

    let wrong = sign("whsec_d3Jvbmc=", "msg_1", "{}").send(&open, &scene.hook).await;
    assert_eq!(wrong.status, 401, "{}", wrong.text);
    let right = scene.fire("msg_1", &json!({ "n": 1 })).await;
    assert_eq!(right.status, 202, "{}", right.text);
    let again = scene.fire("msg_1", &json!({ "n": 1 })).await;
    assert_eq!((again.status, again.body["status"].as_str()), (200, Some("duplicate")));
    let big = sign(&scene.signing_secret, "msg_2", &format!("\"{}\"", "x".repeat(1_100_000)))
        .send(&open, &scene.hook)
        .await;
    assert_eq!(big.refusal(), (413, "payload_too_large"));
    let cut = sign(&scene.signing_secret, "msg_3", "{\"a\":\n ,}").send(&open, &scene.hook).await;
    assert_eq!(cut.status, 400);
    assert!(cut.text.contains("line 2"), "{}", cut.text);
    let nobody = "/v1/hooks/trg_00000000000000000000000000000000";
    assert_eq!(sign(&scene.signing_secret, "msg_4", "{}").send(&open, nobody).await.status, 404);

    assert_eq!(open.get("/v1/agents").await.refusal(), (401, "unauthenticated"));
    assert_eq!(
        api.token("sy_not_a_key").get("/v1/agents").await.refusal(),
        (401, "unauthenticated")
    );
    let unknown = api.post("/v1/agents", &json!({ "name": "x", "colour": "red" })).await;
    assert_eq!(unknown.refusal(), (422, "validation_failed"));
    assert_eq!(unknown.body["errors"][0]["pointer"], "/colour");
    let typo = api
        .header("content-type", "application/json")
        .raw(Method::POST, "/v1/agents", b"{".to_vec())
        .await;
    assert_eq!(typo.refusal(), (400, "malformed_json"));

    let read_only = api
        .post("/v1/api-keys", &json!({ "name": "reads", "scopes": ["agents:read"] }))
        .await
        .expect(201);
    let reader = open.token(text(&read_only, "secret"));
    assert_eq!(reader.get("/v1/agents").await.status, 200);
    assert_eq!(reader.get("/v1/runs").await.refusal(), (403, "scope_missing"));
    assert_eq!(api.delete(&format!("/v1/api-keys/{}", text(&read_only, "id"))).await.status, 204);

    let other = api
        .post("/v1/tenants", &json!({ "name": "Rival", "owner_email": "rival@example.com" }))
        .await
        .expect(201);
    let rival = open.token(text(&other, "secret"));
    for path in [
        format!("/v1/agents/{}", scene.agent),
        format!("/v1/tools/{}", scene.tool),
        format!("/tenant/{}/credentials", fleet.tenant),
    ] {
        assert_eq!(rival.get(&path).await.status, 404, "{path}");
        assert_eq!(api.get(&path).await.status, 200, "{path}");
    }
    for path in [
        "/internal/jwks",
        "/internal/agents/x",
        "//internal/jwks",
        "/v1/../internal/jwks",
        "/%69nternal/jwks",
    ] {
        let status = open.get(path).await.status;
        assert!(matches!(status, 400 | 401 | 404), "{path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_route_is_reachable_at_the_public_address_and_wants_a_key() {
    let fleet = Fleet::start(&[]).await;
    let (open, api) = (Api::at(fleet.url()), fleet.api());
    let document = open.get("/openapi.json").await.expect(200);
    assert_eq!(open.get("/docs/").await.status, 200);

    let mut wrong = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        assert!(!template.starts_with("/internal"), "{template}");
        for (method, operation) in item
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, operation)| operation["responses"].is_object())
        {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = filled(template);
            let secured = operation["security"][0]["token"].is_array();
            let without = open.send(method.clone(), &path, None).await;
            if secured && without.refusal() != (401, "unauthenticated") {
                wrong.push(format!(
                    "{method} {template} without a key: {} {}",
                    without.status, without.text
                ));
            }
            let with = api.send(method.clone(), &path, None).await;
            if with.text.contains("no such route") || with.status == 405 {
                wrong.push(format!(
                    "{method} {template} is not routed: {} {}",
                    with.status, with.text
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn filled(template: &str) -> String {
    let parts = template.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {body}"))
}
