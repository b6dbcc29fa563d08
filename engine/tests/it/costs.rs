//! What runs have used up, with all that work for them.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Stub};

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn a_run_costs_what_it_and_all_that_work_for_it_have_used_up() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let price = json!({ "model": "sim:*", "input": 1_000_000, "cache_read": 0, "cache_write": 0,
        "output": 2_000_000, "reasoning": 0 });
    api.post("/v1/prices", &price).await.expect(201);
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let below = scene::scripted(&api, "below", &scene::calls(&["look"])).await;
    scene::tool(&api, &below, "look", &server.url(), "read").await;
    let tool = json!({ "name": "delegate", "kind": "agent", "config": { "agent_id": below } });
    let tool = api.post("/v1/tools", &tool).await.expect(201);
    let turns = json!([
        { "tool_calls": [{ "name": "delegate", "arguments": { "task": "x" } }] },
        { "text": "{{last_tool_result}}" },
    ]);
    let above = scene::scripted(&api, "above", &turns).await;
    let path = format!("/v1/agents/{above}/tools/{}", tool["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    let run = scene::start(&api, &above).await;
    scene::until(&api, &run, "succeeded").await;

    let path = format!("/v1/runs/{run}/cost");
    let cost = api.get(&path).await.expect(200);

    let runs = cost["runs"].as_array().unwrap();
    let of = |field: fn(&Value) -> &Value| -> Vec<i64> {
        runs.iter().map(|run| field(run).as_i64().unwrap()).collect()
    };
    assert_eq!((&runs[0]["run_id"], &runs[1]["parent_run_id"]), (&json!(run), &json!(run)));
    assert_eq!(of(|run| &run["model_calls"]), [2, 2]);
    assert_eq!(of(|run| &run["tool_calls"]), [1, 1]);
    for field in ["cost_micro_usd", "model_calls", "tool_calls"] {
        let sum: i64 = runs.iter().map(|run| run[field].as_i64().unwrap()).sum();
        assert_eq!(cost["total"][field], sum, "{field}: {cost}");
    }
    let used = |spent: &Value, field: &str| spent["usage"][field].as_i64().unwrap();
    let (input, output) =
        (used(&cost["total"], "input_tokens"), used(&cost["total"], "output_tokens"));
    assert!(input > 0 && output > 0, "{cost}");
    assert_eq!(cost["total"]["cost_micro_usd"], input + 2 * output);
    let child = runs[1]["run_id"].as_str().unwrap();
    let alone = api.get(&format!("/v1/runs/{child}/cost")).await.expect(200);
    assert_eq!(alone["total"]["cost_micro_usd"], runs[1]["cost_micro_usd"]);
    let colleague = app.person(&owner.colleague(Role::Member));
    assert_eq!(colleague.get(&path).await.refusal(), (404, "run_not_found"));
}
