//! Who takes part: two agents with an unsafe tool each, two triggers on one source, and the server that counts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use testkit::{Answer, Stub, Stubbed};

use super::sender::Target;
use crate::{
    Fleet, Scene,
    demo::{actor, credential, text},
};
use std::{collections::BTreeMap, time::Duration};

const ACTORS: [&str; 2] = ["first", "second"];

/// What was made.
pub(super) struct Stage {
    /// The triggers' ids.
    pub(super) triggers: Vec<String>,
    hook: String,
    secret: String,
}

impl Stage {
    /// Both triggers verify with the same credential and so share a source: each delivery fires both.
    pub(super) async fn make(fleet: &Fleet, outside: &Stub) -> Self {
        let (api, tenant) = (fleet.api(), &fleet.tenant);
        let secret = format!("whsec_{}", STANDARD.encode([7; 32]));
        let signing = credential(&api, tenant, "signing", &json!({ "secret": secret })).await;
        let key = credential(&api, tenant, "key", &json!({ "api_key": "not-so-secret" })).await;
        let (mut triggers, mut hooks) = (Vec::new(), Vec::new());
        for name in ACTORS {
            let turns = json!([
                { "tool_calls": [{ "name": Scene::tool_name(name), "arguments": { "text": "{{input}}" } }],
                  "delay_ms": 100 },
                { "text": "done", "delay_ms": 100 },
            ]);
            let url = format!("{}/{name}", outside.url());
            let (agent, _) = actor(&api, name, "unsafe", &url, &key, &turns).await;
            let trigger =
                json!({ "system": "webhook", "agent_id": agent, "credential_id": signing });
            let made = api.post("/v1/triggers", &trigger).await.expect(201);
            triggers.push(text(&made, "id"));
            hooks.push(text(&made, "hook_url"));
        }
        Self { triggers, hook: hooks.swap_remove(0), secret }
    }

    /// Where deliveries go.
    pub(super) fn target(&self, fleet: &Fleet) -> Target {
        Target { url: format!("{}{}", fleet.url(), self.hook), secret: self.secret.clone() }
    }
}

/// The counting server. It takes its time, so that some calls are under way whenever somebody dies.
pub(super) async fn outside() -> Stub {
    Stub::start(|request| {
        let pause = Duration::from_millis(u64::from(
            request.body.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte)),
        ));
        Answer::After(pause, Box::new(Answer::Json(200, json!({ "ok": true }))))
    })
    .await
}

/// How often each delivery's call has arrived, by actor and delivery.
pub(super) fn calls(outside: &Stub) -> BTreeMap<(String, String), usize> {
    let mut calls = BTreeMap::new();
    for request in outside.requests() {
        *calls.entry((request.path.clone(), delivery(&request))).or_default() += 1;
    }
    calls
}

/// The tool is told what the agent was told: the payload, which names its delivery.
fn delivery(request: &Stubbed) -> String {
    let body = request.json();
    let text = body["text"].as_str().unwrap_or_else(|| panic!("a call without its text: {body}"));
    let payload = text.find('{').and_then(|start| serde_json::from_str(&text[start..]).ok());
    let payload: serde_json::Value = payload.unwrap_or_else(|| panic!("no payload in {text}"));
    self::text(&payload, "id")
}
