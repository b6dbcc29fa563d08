//! A real model's wire: an OpenAI-compatible server, streaming, with a tool call in between.

use e2e::{Fleet, follow};
use serde_json::{Value, json};
use testkit::{Answer, Stub, Stubbed, eventually};

fn chunk(delta: &Value, finish: &Value) -> String {
    let chunk = json!({
        "id": "c1", "object": "chat.completion.chunk", "model": "gpt-4o-mini",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    });
    format!("data: {chunk}\n\n")
}

/// Asks for the tool first; once its answer is among the messages, says it.
fn completions(request: &Stubbed) -> Answer {
    let messages = request.json()["messages"].as_array().cloned().unwrap_or_default();
    let answer = messages.iter().find(|message| message["role"] == "tool");
    let mut body = match answer {
        None => {
            let function = json!({ "name": "look_up", "arguments": "{\"id\":" });
            let call =
                json!({ "index": 0, "id": "call_1", "type": "function", "function": function });
            let rest = json!({ "index": 0, "function": { "arguments": "\"7\"}" } });
            chunk(&json!({ "role": "assistant", "tool_calls": [call] }), &Value::Null)
                + &chunk(&json!({ "tool_calls": [rest] }), &Value::Null)
                + &chunk(&json!({}), &json!("tool_calls"))
        }
        Some(answer) => {
            chunk(&json!({ "role": "assistant", "content": "It says " }), &Value::Null)
                + &chunk(&json!({ "content": answer["content"] }), &Value::Null)
                + &chunk(&json!({}), &json!("stop"))
        }
    };
    let usage = json!({ "choices": [], "usage": {
        "prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": { "cached_tokens": 40 },
    }});
    body = format!("{body}data: {usage}\n\ndata: [DONE]\n\n");
    Answer::Raw(200, vec![("content-type".into(), "text/event-stream".into())], body.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_on_a_compatible_server_calls_its_tool_and_its_tokens_are_counted_in_buckets() {
    let model = Stub::start(completions).await;
    let outside = Stub::start(|_| Answer::Json(200, json!({ "found": 42 }))).await;
    let allow = format!("127.0.0.1:{}", outside.port());
    let base = format!("{}/v1", model.url());
    let fleet = Fleet::start(&[
        ("SWITCHYARD_EGRESS_ALLOW", allow.as_str()),
        ("OPENAI_API_KEY", "sk-from-the-environment"),
        ("OPENAI_BASE_URL", base.as_str()),
    ])
    .await;
    let api = fleet.api();
    let tool = json!({
        "name": "look_up", "description": "Looks something up.", "kind": "http",
        "parameters": { "type": "object", "properties": { "id": { "type": "string" } }, "required": ["id"] },
        "config": { "method": "GET", "url": format!("{}/items/{{id}}", outside.url()) },
    });
    let tool = api.post("/v1/tools", &tool).await.expect(201);
    let agent =
        json!({ "name": "finder", "model": "openai:gpt-4o-mini", "instructions": "Look it up." });
    let agent = api.post("/v1/agents", &agent).await.expect(201);
    let (agent, tool) = (agent["agent_id"].as_str().unwrap(), tool["tool_id"].as_str().unwrap());
    let linked = api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &json!({})).await;
    assert!((200..300).contains(&linked.status), "{}", linked.text);

    let run = api.post("/v1/runs", &json!({ "agent_id": agent, "input": "what is 7?" })).await;
    let run = run.body["run_id"].as_str().unwrap().to_owned();
    let done = eventually("the run to end", async || {
        let run = api.get(&format!("/v1/runs/{run}")).await.body;
        run["finished_at"].is_string().then_some(run)
    })
    .await;

    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(done["output"], "It says {\"found\":42}");
    assert_eq!(outside.hits("/items/7"), 1);
    let usage = &done["usage"];
    assert_eq!((&usage["input_tokens"], &usage["cache_read_tokens"]), (&json!(120), &json!(80)));
    assert_eq!(usage["output_tokens"], 40);
    let asked = &model.requests()[0];
    assert_eq!(asked.header("authorization"), "Bearer sk-from-the-environment");
    assert_eq!(asked.json()["stream"], true);
    let events = format!("{:?}", follow(&fleet.url(), &fleet.key, &run).await);
    assert!(
        !events.contains("sk-from-the-environment")
            && !fleet.logs().contains("sk-from-the-environment")
    );
}
