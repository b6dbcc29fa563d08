//! An agent with one HTTP tool, its credential and a webhook trigger, made through the public API.

use serde_json::{Value, json};
use testkit::{Api, Reply, eventually_within};

use crate::sign;
use std::time::Duration;

/// What was made.
pub struct Scene {
    api: Api,
    /// The agent.
    pub agent: String,
    /// The tool.
    pub tool: String,
    /// The hook's path.
    pub hook: String,
    /// What deliveries to it are signed with.
    pub signing_secret: String,
}

/// Instructions that make `sim:script` take these turns.
pub fn script(turns: &Value) -> String {
    format!("Follow the script.\n```sim\n{turns}\n```")
}

impl Scene {
    /// Makes an agent on `sim:script` with a POST tool named `act` at `url`, which sends `secret` in `x-key`, and a
    /// webhook trigger with a secret of its own.
    pub async fn make(
        api: &Api,
        tenant: &str,
        name: &str,
        effect: &str,
        url: &str,
        secret: &str,
        turns: &Value,
    ) -> Self {
        let fields = json!({ "api_key": secret });
        let key = credential(api, tenant, &format!("{name}-key"), &fields).await;
        let (agent, tool) = actor(api, name, effect, url, &key, turns).await;
        let trigger = json!({ "system": "webhook", "options": {} });
        let made = api.post(&format!("/agent/{agent}/trigger"), &trigger).await.expect(201);
        Self {
            api: api.clone(),
            agent,
            tool,
            hook: text(&made, "hook_url"),
            signing_secret: text(&made, "signing_secret"),
        }
    }

    /// The name of the tool, as a script has to call it.
    pub fn tool_name(name: &str) -> String {
        format!("act_{}", name.replace('-', "_"))
    }

    /// Sends a signed delivery.
    pub async fn fire(&self, id: &str, body: &Value) -> Reply {
        sign(&self.signing_secret, id, &body.to_string()).send(&self.api, &self.hook).await
    }

    /// Starts a run by hand; gives its id.
    pub async fn run(&self, input: &str) -> String {
        let body = json!({ "agent_id": self.agent, "input": input });
        let reply = self.api.post("/v1/runs", &body).await;
        assert!((200..300).contains(&reply.status), "{}", reply.text);
        text(&reply.body, "run_id")
    }

    /// The run that a delivery started.
    pub async fn run_of(&self, delivery: &str) -> String {
        let path = format!("/v1/deliveries/{delivery}");
        eventually_within(Duration::from_secs(30), "the delivery's run", async || {
            let reply = self.api.get(&path).await;
            reply.body["firings"][0]["run_id"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Waits until a run has one of these statuses; gives the run.
    pub async fn until(&self, run: &str, statuses: &[&str]) -> Value {
        let path = format!("/v1/runs/{run}");
        let what = format!("run {run} to be one of {statuses:?}");
        let mut last = Value::Null;
        eventually_within(Duration::from_secs(60), &what, async || {
            last = self.api.get(&path).await.body;
            let status = last["status"].as_str().unwrap_or_default();
            statuses.contains(&status).then(|| last.clone())
        })
        .await
    }

    /// Waits until a run asks what happened to an unsafe call: not before the lease and the tool's time have passed.
    pub async fn until_doubt(&self, run: &str) {
        let path = format!("/v1/runs/{run}");
        eventually_within(Duration::from_secs(30), "the run to ask", async || {
            let run = self.api.get(&path).await.body;
            (run["status"] == "waiting" && run["wait_reason"] == "doubt").then_some(())
        })
        .await;
    }
}

/// Stores a tenant's credential; gives its id.
pub(crate) async fn credential(api: &Api, tenant: &str, name: &str, fields: &Value) -> String {
    let body = json!({ "name": name, "credentials": fields });
    let made = api.post(&format!("/tenant/{tenant}/credentials"), &body).await.expect(201);
    text(&made, "credential_id")
}

/// Makes an agent with a tool that sends a credential's `api_key`; gives the ids of both.
pub(crate) async fn actor(
    api: &Api,
    name: &str,
    effect: &str,
    url: &str,
    credential: &str,
    turns: &Value,
) -> (String, String) {
    let tool = json!({
        "name": Scene::tool_name(name), "description": "Acts.", "kind": "http", "effect": effect,
        "timeout_ms": 5000,
        "parameters": {
            "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"],
        },
        "config": {
            "method": "POST", "url": url,
            "credential": { "in": "header", "name": "x-key", "field": "api_key" },
        },
    });
    let tool = text(&api.post("/v1/tools", &tool).await.expect(201), "tool_id");
    let agent = json!({ "name": name, "model": "sim:script", "instructions": script(turns) });
    let agent = text(&api.post("/v1/agents", &agent).await.expect(201), "agent_id");
    let link = json!({ "credential_id": credential });
    let linked = api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &link).await;
    assert!((200..300).contains(&linked.status), "{}", linked.text);
    (agent, tool)
}

pub(crate) fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {body}")).to_owned()
}
