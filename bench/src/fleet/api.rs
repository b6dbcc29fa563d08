//! The public API, for setting the scene.

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::{Value, json};

/// The public address with an API key.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    url: String,
    key: String,
    http: reqwest::Client,
}

/// An agent with one HTTP tool.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) id: String,
}

/// A webhook trigger.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    /// The hook's path, the same at both doors.
    pub(crate) path: String,
    pub(crate) secret: String,
}

impl Api {
    pub(super) fn new(url: String, key: String) -> anyhow::Result<Self> {
        Ok(Self { url, key, http: servicekit::peer::internal_http()? })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// An agent that asks `model` and may call `tool`.
    pub(crate) async fn agent(
        &self,
        name: &str,
        model: &str,
        tool: Option<&str>,
    ) -> anyhow::Result<Agent> {
        let agent = json!({ "name": name, "model": format!("openai:{model}"),
            "instructions": "Look it up, then answer in one sentence." });
        let id = text(&self.post("/v1/agents", &agent).await?, "agent_id")?;
        if let Some(tool) = tool {
            self.put(&format!("/v1/agents/{id}/tools/{tool}"), &json!({})).await?;
        }
        Ok(Agent { id })
    }

    /// A tool that posts its argument to `url`.
    pub(crate) async fn tool(&self, name: &str, effect: &str, url: &str) -> anyhow::Result<String> {
        let tool = json!({
            "name": name, "description": "Looks something up.", "kind": "http", "effect": effect,
            "parameters": {
                "type": "object", "properties": { "text": { "type": "string" } },
                "required": ["text"], "additionalProperties": false,
            },
            "config": { "method": "POST", "url": url },
        });
        text(&self.post("/v1/tools", &tool).await?, "tool_id")
    }

    /// A trigger that starts the agent for every delivery.
    pub(crate) async fn hook(&self, agent: &Agent) -> anyhow::Result<Hook> {
        let trigger = json!({ "system": "webhook", "options": {} });
        let made = self.post(&format!("/agent/{}/trigger", agent.id), &trigger).await?;
        Ok(Hook { path: text(&made, "hook_url")?, secret: text(&made, "signing_secret")? })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let what = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        request = request.bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("{what} answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{what} answered something unreadable"))
    }
}

/// A text in an answer.
pub(crate) fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let text = answer[field].as_str().map(str::to_owned);
    text.with_context(|| format!("no `{field}` in {answer}"))
}
