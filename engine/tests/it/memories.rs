//! What agents remember about people and conversations.

use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn what_an_agent_remembers_about_a_person_or_a_conversation_is_theirs_alone() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let call = |name: &str, arguments: Value| json!({ "tool_calls": [{ "name": name, "arguments": arguments }] });
    let last = json!({ "text": "{{last_tool_result}}" });
    let keep = json!([
        call("keep", json!({ "key": "likes", "value": "{{input}}" })),
        call("recall", json!({})),
        last
    ]);
    let look = json!([call("recall", json!({})), last]);
    for about in ["end_user", "conversation"] {
        let (keeper, looker) = (format!("keeper-{about}"), about);
        let agent = scene::scripted(&api, &keeper, &keep).await;
        for (name, builtin) in [("keep", "memory_write"), ("recall", "memory_read")] {
            let tool = json!({ "name": format!("{name}-{about}"), "kind": "builtin",
                "config": { "builtin": builtin, "about": about } });
            let made = api.post("/v1/tools", &tool).await.expect(201);
            let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
            api.put(&path, &json!({ "name": name })).await.expect(200);
        }
        let begin = async |person: &str| {
            let begun = json!({ "agent_id": agent, "end_user_id": person });
            api.post("/v1/conversations", &begun).await.expect(201)["conversation_id"].clone()
        };
        let (one, two, stranger) = (begin("ada").await, begin("ada").await, begin("bob").await);
        let ask = async |conversation: &Value, text: &str| {
            let run = json!({ "conversation_id": conversation, "input": text, "wait": 30 });
            api.post("/v1/runs", &run).await.expect(200)["output"].as_str().unwrap().to_owned()
        };
        assert!(ask(&one, "tea").await.contains("tea"));
        let body = json!({ "instructions": scene::script(&look) });
        api.patch(&format!("/v1/agents/{agent}"), &body).await.expect(200);

        assert!(ask(&one, "what?").await.contains("tea"), "{looker}");
        assert_eq!(ask(&two, "what?").await.contains("tea"), about == "end_user");
        assert_eq!(ask(&stranger, "what?").await, "nothing is remembered");
        // Without a conversation, the person alone.
        let run = json!({ "agent_id": agent, "end_user_id": "ada", "input": "what?", "wait": 30 });
        let alone = api.post("/v1/runs", &run).await.expect(200);
        assert_eq!(
            alone["output"].as_str().unwrap().contains("tea"),
            about == "end_user",
            "{alone}"
        );
    }
}
