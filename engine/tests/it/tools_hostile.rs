//! What models and servers do to tools that they should not. Each ends in a clear state, and the next run is unaffected.

use serde_json::{Value, json};
use testkit::{Answer, Stub};

use crate::harness::TestApp;
use crate::scene;

/// A model that calls `look` with exactly these arguments.
fn calls(arguments: &Value) -> Value {
    json!([{ "tool_calls": [{ "name": "look", "arguments": arguments }] }, { "text": "told: {{last_tool_result}}" }])
}

#[tokio::test]
async fn bad_arguments_are_an_error_for_the_model_and_reach_nobody() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let agent = scene::scripted(&api, "a", &calls(&json!({}))).await;
    let tool = json!({ "name": "look", "kind": "http", "config": { "url": format!("{}/{{id}}", server.url()) },
        "parameters": { "type": "object", "required": ["id"], "additionalProperties": false,
            "properties": { "id": { "type": "string", "maxLength": 2000 } } } });
    let made = api.post("/v1/tools", &tool).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    let told = async |arguments: Value| {
        let body = json!({ "instructions": scene::script(&calls(&arguments)) });
        api.patch(&format!("/v1/agents/{agent}"), &body).await.expect(200);
        let run = scene::start(&api, &agent).await;
        scene::until(&api, &run, "succeeded").await["output"].as_str().unwrap().to_owned()
    };

    for (arguments, why) in [
        (json!("not json"), "not a JSON object"),
        (json!("[1,2]"), "not a JSON object"),
        (json!("null"), "not a JSON object"),
        (json!({}), "required"),
        (json!({ "id": 7 }), "not of type"),
        (json!({ "id": "x", "more": 1 }), "more"),
        (json!({ "id": "x".repeat(100_000) }), "longer than 2000"),
        (json!({ "id": ".." }), "lead elsewhere"),
    ] {
        let told = told(arguments.clone()).await;
        let shown: String = arguments.to_string().chars().take(40).collect();
        assert!(told.contains(why), "{shown}: {told}");
    }
    assert!(server.requests().is_empty());

    // Braces in an argument are text: no argument is a template.
    assert_eq!(told(json!({ "id": "{id}{{7*7}}${id}" })).await, "told: \"fine\"");
    assert_eq!(server.requests()[0].path, "/%7Bid%7D%7B%7B7%2A7%7D%7D%24%7Bid%7D");
}

#[tokio::test]
async fn a_server_that_hangs_or_floods_is_given_up() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let flood = vec![b'x'; 50 * 1024 * 1024];
    let server = Stub::start(move |seen| match seen.path.as_str() {
        "/flood" => Answer::Raw(200, Vec::new(), flood.clone()),
        _ => Answer::Never,
    })
    .await;
    let floods = scene::scripted(&api, "floods", &scene::calls(&["flood"])).await;
    scene::tool(&api, &floods, "flood", &format!("{}/flood", server.url()), "read").await;
    let hangs = scene::scripted(&api, "hangs", &scene::calls(&["hang"])).await;
    scene::tool(&api, &hangs, "hang", &format!("{}/hang", server.url()), "read").await;

    let (flooded, hung) = (scene::start(&api, &floods).await, scene::start(&api, &hangs).await);

    let flooded = scene::until(&api, &flooded, "succeeded").await;
    // The model reads how it begins; what was kept of it can be read by people.
    let told = flooded["output"].as_str().unwrap();
    assert!(told.starts_with("told: The result has 10"), "{told:.80}");
    assert!(told.len() < 6_000 && told.contains("call `retrieve_artifact`"), "{}", told.len());
    let id = told.split('`').nth(1).unwrap().to_owned();
    let kept = format!("/v1/runs/{}/artifacts/{id}", flooded["run_id"].as_str().unwrap());
    let kept = api.get(&kept).await.text;
    assert!(kept.len() > 1024 * 1024 && kept.ends_with("(cut here: the answer was longer)"));
    let hung = scene::until(&api, &hung, "succeeded").await;
    assert!(hung["output"].as_str().unwrap().contains("no answer within"), "{hung}");
}
