//! Test cases of agents: written by hand, and kept from runs.

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub};

use crate::harness::TestApp;
use crate::scene;

/// A case of the agent that this body makes.
pub(crate) async fn case(api: &Api, agent: &str, body: &Value) -> String {
    let made = api.post(&format!("/v1/agents/{agent}/cases"), body).await.expect(201);
    made["case_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_case_is_made_read_listed_changed_and_taken_away() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    let cases = format!("/v1/agents/{agent}/cases");
    let body = json!({ "name": "first", "input": { "n": 1 }, "variables": { "tone": "dry" }, "tools": "live",
        "history": [{ "role": "user", "content": "before" }],
        "answers": [{ "tool": "look", "arguments": { "at": 1 }, "content": "seen", "error": true }],
        "expectations": [{ "kind": "tool_called", "tool": "look", "arguments": { "at": 1 }, "times": 2 },
            { "kind": "judged", "model": "sim:script", "rubric": "polite" }] });

    let id = case(&api, &agent, &body).await;
    let path = format!("{cases}/{id}");
    let seen = api.get(&path).await.expect(200);

    for field in ["name", "input", "variables", "tools", "answers", "expectations"] {
        assert_eq!(seen[field], body[field], "{field}");
    }
    assert_eq!((&seen["version"], &seen["source_run_id"]), (&json!(1), &Value::Null));
    let second = case(&api, &agent, &json!({ "name": "second", "input": "x" })).await;
    let page = api.get(&format!("{cases}?limit=1")).await.expect(200);
    assert_eq!(page["items"][0]["case_id"], second.as_str());
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = api.get(&format!("{cases}?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!((&page["items"][0]["case_id"], &page["next_cursor"]), (&json!(id), &Value::Null));

    let changed =
        api.patch(&path, &json!({ "name": "third", "expectations": [] })).await.expect(200);
    assert_eq!((&changed["name"], &changed["version"]), (&json!("third"), &json!(2)));
    assert_eq!((&changed["answers"], &changed["expectations"]), (&body["answers"], &json!([])));
    let stale = api.header("if-match", "\"1\"").patch(&path, &json!({ "name": "no" })).await;
    assert_eq!(stale.refusal(), (412, "precondition_failed"));
    let taken = api.patch(&path, &json!({ "name": "second" })).await;
    assert_eq!(taken.refusal(), (409, "case_name_taken"));
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(api.get(&path).await.refusal(), (404, "case_not_found"));
}

#[tokio::test]
async fn what_cannot_be_a_case_is_refused_with_its_place() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    let path = format!("/v1/agents/{agent}/cases");

    let table = [
        (json!({ "name": " ", "input": "x" }), "/name"),
        (json!({ "name": "a\u{0}", "input": "x" }), "/name"),
        (json!({ "name": "n", "input": "" }), "/input"),
        (json!({ "name": "n", "input": { "a": "\u{0}" } }), "/input/a"),
        (json!({ "name": "n", "input": "x", "variables": { "1": "x" } }), "/variables/1"),
        (json!({ "name": "n", "input": "x", "variables": { "a": "\u{0}" } }), "/variables/a"),
        (
            json!({ "name": "n", "input": "x", "answers": [{ "tool": "t", "content": "\u{0}" }] }),
            "/answers/0/content",
        ),
        (
            json!({ "name": "n", "input": "x", "expectations": [{ "kind": "output_matches", "pattern": "(" }] }),
            "/expectations/0/pattern",
        ),
        (
            json!({ "name": "n", "input": "x",
                "expectations": vec![json!({ "kind": "judged", "model": "sim:script", "rubric": "r" }); 9] }),
            "/expectations",
        ),
        (json!({ "name": "n", "input": "x".repeat(1024 * 1024) }), ""),
    ];
    for (body, pointer) in table {
        let refused = api.post(&path, &body).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"), "{pointer}");
        let problem: Value = serde_json::from_str(&refused.text).unwrap();
        let errors = problem["errors"].clone();
        let pointers: Vec<&str> = errors
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(pointers, [pointer]);
    }
    let unknown = json!({ "name": "n", "input": "x", "expectations": [{ "kind": "wise" }] });
    assert_eq!(api.post(&path, &unknown).await.status, 422);
}

#[tokio::test]
async fn a_run_that_has_ended_is_kept_with_its_input_and_what_its_tools_have_answered() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("nul \u{0} seen"))).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["look", "look"])).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "succeeded").await;

    let keep = api.post(&format!("/v1/runs/{run}/keep"), &json!({ "name": "kept" })).await;

    let case = keep.expect(201);
    assert_eq!((&case["input"], &case["source_run_id"]), (&json!("go"), &json!(run)));
    let answers = case["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!(
        (&answers[0]["tool"], &answers[0]["arguments"]),
        (&json!("look"), &json!({ "n": 1 }))
    );
    assert!(answers[0]["content"].as_str().unwrap().contains("seen"), "{answers:?}");
    let expected = json!([{ "kind": "tool_called", "tool": "look", "arguments": { "n": 1 } }]);
    assert_eq!(case["expectations"], expected);
    let again = api.post(&format!("/v1/runs/{run}/keep"), &json!({ "name": "kept" })).await;
    assert_eq!(again.refusal(), (409, "case_name_taken"));
}

#[tokio::test]
async fn a_run_under_way_or_of_a_swarm_is_not_kept() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "slow", &json!([{ "text": "x", "delay_ms": 60_000 }])).await;
    let run = scene::start(&api, &agent).await;
    let keep = json!({ "name": "k" });

    let refused = api.post(&format!("/v1/runs/{run}/keep"), &keep).await;

    assert_eq!(refused.refusal(), (409, "run_not_ended"));
    let quick = scene::scripted(&api, "quick", &json!([{ "text": "x" }])).await;
    let member = json!({ "kind": "agent", "agent_id": quick, "name": "quick" });
    let swarm = json!({ "name": "s", "members": [member] });
    let swarm = api.post("/v1/swarms", &swarm).await.expect(201);
    let start = json!({ "swarm_id": swarm["swarm_id"], "input": "go" });
    let run = api.post("/v1/runs", &start).await.expect(201);
    let run = run["run_id"].as_str().unwrap();
    scene::until(&api, run, "succeeded").await;
    let refused = api.post(&format!("/v1/runs/{run}/keep"), &keep).await;
    assert_eq!(refused.refusal(), (409, "run_not_keepable"));
}

#[tokio::test]
async fn a_case_is_for_who_sees_its_agent_and_its_content_for_who_may_see_content() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    let body = json!({ "name": "n", "input": "sesame", "answers": [{ "tool": "t", "content": "sesame" }],
        "expectations": [{ "kind": "output_matches", "pattern": "sesame" }] });
    let id = case(&api, &agent, &body).await;
    let path = format!("/v1/agents/{agent}/cases/{id}");

    let stranger = app.person(&owner.colleague(shared_models::Role::Member));
    assert_eq!(stranger.get(&path).await.refusal(), (404, "agent_not_found"));
    let blind = app.person(&owner.without_payloads());
    let seen = blind.get(&path).await;
    assert!(!seen.text.contains("sesame"), "{}", seen.text);
    assert_eq!(seen.expect(200)["redacted"], true);
    let other = scene::scripted(&api, "b", &json!([{ "text": "x" }])).await;
    let elsewhere = api.get(&format!("/v1/agents/{other}/cases/{id}")).await;
    assert_eq!(elsewhere.refusal(), (404, "case_not_found"));
}
