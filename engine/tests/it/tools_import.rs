//! A whole OpenAPI document as tools.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub};

use crate::harness::TestApp;
use crate::scene;

fn document(server: &str) -> Value {
    json!({ "openapi": "3.1.0", "info": { "title": "Pets", "version": "1" }, "servers": [{ "url": server }],
        "components": { "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": "X-Api-Key" } } },
        "security": [{ "key": [] }],
        "paths": {
            "/pets": {
                "get": { "operationId": "listPets", "parameters": [
                    { "name": "tag", "in": "query", "schema": { "type": "string" } }] },
                "post": { "operationId": "addPet", "requestBody": { "required": true, "content": {
                    "application/json": { "schema": { "type": "object" } } } } } },
            "/pets/{id}": { "get": { "operationId": "getPet", "parameters": [
                { "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }] } },
            "/pets/{id}/photo": { "post": { "operationId": "addPhoto", "requestBody": { "required": true,
                "content": { "multipart/form-data": {} } } } } } })
}

async fn import(api: &Api, body: &Value) -> Value {
    api.post("/v1/tools/import", body).await.expect(200)
}

fn item<'a>(report: &'a Value, operation: &str) -> &'a Value {
    let items = report["operations"].as_array().unwrap();
    items.iter().find(|item| item["operation"] == operation).unwrap()
}

#[tokio::test]
async fn a_document_becomes_tools_that_call_its_server() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|seen| Answer::Json(200, json!({ "at": seen.path }))).await;
    let yaml = document(&server.url()).to_string();
    let docs = Stub::start(move |_| Answer::Raw(200, Vec::new(), yaml.clone().into_bytes())).await;
    let url = format!("{}/openapi.json", docs.url());
    let asked = json!({ "name": "pets", "url": url });

    let mut dry = asked.clone();
    dry["dry_run"] = json!(true);
    let planned = import(&api, &dry).await;
    assert_eq!(api.get("/v1/tools").await.body["items"], json!([]));
    let report = import(&api, &asked).await;

    assert_eq!(planned["counts"], json!({ "created": 3, "skipped": 1 }));
    assert_eq!(report["counts"], planned["counts"]);
    assert_eq!((&planned["import_id"], report["import_id"].is_string()), (&Value::Null, true));
    assert_eq!(item(&report, "POST /pets")["effect"], "unsafe");
    assert_eq!(item(&report, "GET /pets")["credential"]["name"], "X-Api-Key");
    assert!(
        item(&report, "POST /pets/{id}/photo")["reason"].as_str().unwrap().contains("multipart")
    );

    let calls = json!([{ "tool_calls": [{ "name": "getPet", "arguments": { "id": "a b" } }] },
        { "text": "{{last_tool_result}}" }]);
    let agent = scene::scripted(&api, "a", &calls).await;
    let tool = item(&report, "GET /pets/{id}")["tool_id"].as_str().unwrap();
    api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &json!({})).await.expect(200);
    let run = scene::start(&api, &agent).await;
    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], r#"{"at":"/pets/a%20b"}"#);
}

#[tokio::test]
async fn imported_again_tools_keep_their_ids_and_names_and_change_in_place() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let taken =
        json!({ "name": "addPet", "kind": "http", "config": { "url": "https://a.example.com/" } });
    api.post("/v1/tools", &taken).await.expect(201);
    let mut pets = document("https://pets.example.com/v1");
    let first = import(&api, &json!({ "name": "pets", "document": pets })).await;
    assert_eq!(item(&first, "POST /pets")["name"], "addPet_2");

    let again = import(&api, &json!({ "name": "pets", "document": pets.to_string() })).await;
    assert_eq!(again["counts"], json!({ "unchanged": 3, "skipped": 1 }));

    pets["paths"]["/pets"]["get"]["operationId"] = json!("renamed");
    pets["paths"]["/pets"]["get"]["summary"] = json!("All pets.");
    pets["paths"]["/pets/{id}"] = json!({});
    pets["paths"]["/owners"] = json!({ "get": {} });
    let changed = import(&api, &json!({ "name": "pets", "document": pets })).await;

    let kept = item(&changed, "GET /pets");
    assert_eq!(kept["tool_id"], item(&first, "GET /pets")["tool_id"]);
    assert_eq!((&kept["name"], &kept["changes"]), (&json!("listPets"), &json!(["description"])));
    let tool =
        api.get(&format!("/v1/tools/{}", kept["tool_id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&tool["version"], &tool["description"]), (&json!(2), &json!("All pets.")));
    assert_eq!(item(&changed, "GET /owners")["action"], "created");
    assert_eq!(item(&changed, "GET /pets/{id}")["action"], "gone");
    let pruned = import(&api, &json!({ "name": "pets", "document": pets, "prune": true })).await;
    assert_eq!(item(&pruned, "GET /pets/{id}")["action"], "deleted");
    let gone = item(&pruned, "GET /pets/{id}")["tool_id"].as_str().unwrap();
    assert_eq!(api.get(&format!("/v1/tools/{gone}")).await.status, 404);
}

#[tokio::test]
async fn what_cannot_be_imported_is_refused_and_says_why() {
    let app = TestApp::start_with(&[]).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let inside = Stub::start(|_| Answer::Json(200, json!({}))).await;
    let refused = async |body: Value| {
        let reply = api.post("/v1/tools/import", &body).await;
        let error = &reply.expect(422)["errors"][0];
        (
            error["pointer"].as_str().unwrap().to_owned(),
            error["message"].as_str().unwrap().to_owned(),
        )
    };

    let table = [
        (json!({ "name": "p" }), "/url", "either"),
        (json!({ "name": "a b", "document": {} }), "/name", "1 to 64"),
        (json!({ "name": "p", "document": "a: [" }), "/document", "not YAML"),
        (json!({ "name": "p", "document": { "swagger": "2.0" } }), "/document", "Swagger 2.0"),
        (json!({ "name": "p", "url": "nowhere" }), "/url", "relative URL"),
        (json!({ "name": "p", "url": inside.url() }), "/url", "not a public address"),
    ];
    for (body, pointer, why) in table {
        let (at, told) = refused(body.clone()).await;
        assert!(at == pointer && told.contains(why), "{body}: {at} {told}");
    }
    assert!(inside.requests().is_empty());

    let pets = json!({ "name": "pets", "document": document("https://pets.example.com") });
    import(&api, &pets).await;
    let other = app.person(&owner.colleague(Role::Member));
    assert_eq!(other.post("/v1/tools/import", &pets).await.refusal(), (403, "not_owner"));
}
