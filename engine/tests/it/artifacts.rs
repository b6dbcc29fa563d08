//! Long results of tools: the model is shown how they begin, and fetches the parts it needs.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Stub};

use crate::harness::TestApp;
use crate::scene;

/// A model that calls `look`, then what it is told to fetch; the server's requests are what it was asked with.
async fn model(long: usize) -> Stub {
    Stub::start(move |seen| {
        if seen.path == "/look" {
            return Answer::Raw(200, Vec::new(), format!("{}END", "x".repeat(long)).into_bytes());
        }
        let body = seen.json();
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let results: Vec<&str> = messages
            .iter()
            .filter(|message| message["role"] == "tool")
            .filter_map(|message| message["content"].as_str())
            .collect();
        let call = |name: &str, arguments: Value| {
            json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": format!("c{}", results.len()),
                "type": "function", "function": { "name": name, "arguments": arguments.to_string() } }] })
        };
        let message = match results.as_slice() {
            [] => call("look", json!({ "n": 1 })),
            [preview] => {
                let id = preview.split('`').nth(1).unwrap_or_default();
                call("retrieve_artifact", json!({ "artifact_id": id, "start": 99_990, "length": 100 }))
            }
            [_, _] => call("retrieve_artifact", json!({ "artifact_id": format!("art_{}", "0".repeat(64)) })),
            [.., part, none] => json!({ "role": "assistant", "content": format!("{part} | {none}") }),
        };
        Answer::Json(200, json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": message }] }))
    })
    .await
}

#[tokio::test]
async fn a_long_result_is_put_aside_and_read_in_parts() {
    let server = model(100_000).await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[
        ("OPENAI_BASE_URL", &url),
        ("OPENAI_API_KEY", "k"),
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
    ])
    .await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "openai:gpt-4o" })).await;
    scene::tool(&api, &agent, "look", &format!("{}/look", server.url()), "read").await;

    let ended =
        api.post("/v1/runs", &json!({ "agent": "a", "input": "go", "wait": 30 })).await.expect(200);

    let output = ended["output"].as_str().unwrap();
    assert!(output.starts_with("[bytes 99990 to 100003 of 100003]\nxxxxxxxxxxEND | "), "{output}");
    assert!(output.contains("there is no artifact"), "{output}");
    let asked: Vec<Value> = server
        .requests()
        .iter()
        .filter(|seen| seen.path != "/look")
        .map(testkit::Stubbed::json)
        .collect();
    let tools = |at: usize| -> Vec<&str> {
        let tools = asked[at]["tools"].as_array().unwrap().iter();
        tools.map(|tool| tool["function"]["name"].as_str().unwrap()).collect()
    };
    assert_eq!(tools(0), ["look"], "nothing is there to be fetched");
    assert_eq!(tools(1), ["look", "retrieve_artifact"]);
    assert!(asked[1].to_string().len() < 10_000, "the model reads how it begins");

    let run = ended["run_id"].as_str().unwrap();
    let messages = api.get(&format!("/v1/runs/{run}/messages")).await.expect(200);
    let preview = messages["items"][2]["content"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/artifacts/{}", preview.split('`').nth(1).unwrap());
    assert_eq!(api.get(&path).await.text.len(), 100_003);
    let (looked, body) = (server.hits("/look"), json!({ "unmatched": "refuse" }));
    let forked = crate::forks::id(&crate::forks::fork(&api, run, &body).await);
    let again = scene::until(&api, &forked, "succeeded").await;
    assert_eq!(again["output"], ended["output"], "a dry fork reads what its source has put aside");
    assert_eq!(server.hits("/look"), looked);
    let stranger = app.person(&owner.colleague(Role::Member));
    assert_eq!(stranger.get(&path).await.refusal(), (404, "run_not_found"));
    // What was said is no artifact, even by its hash.
    let hash: String = sqlx::query_scalar(
        "select encode(hash, 'hex') from engine.content where position('role'::bytea in body) > 0 limit 1",
    )
    .fetch_one(&mut app.db.admin().await)
    .await
    .unwrap();
    let message = format!("/v1/runs/{run}/artifacts/art_{hash}");
    assert_eq!(api.get(&message).await.refusal(), (404, "artifact_not_found"));
}
