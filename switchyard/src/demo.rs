//! The demo: an agent with an HTTP tool, a credential the tool sends, and a webhook trigger. Made through the public API
//! with the first API key, as any user would, and remembered in the home so that a restart finds it.

pub(crate) mod command;
pub(crate) mod guide;
pub(crate) mod receiver;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::Env;

use crate::{first_tenant::FirstTenant, secrets::write_private};

/// What was made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Demo {
    tenant: String,
    receiver: String,
    /// `sim:demo` unless a model key was in the environment.
    pub(crate) model: String,
    credential_id: String,
    agent_id: String,
    tool_id: String,
    /// Path of the hook.
    pub(crate) hook: String,
    /// What deliveries are signed with (Standard Webhooks).
    pub(crate) secret: String,
}

const INSTRUCTIONS: &str = "You keep notes. For every event you are told of, call take_note once with a one-line \
summary, then say in one sentence what you noted.";

impl Demo {
    /// Makes the demo, or brings the existing one up to date: the receiver may have moved, a model key may have come.
    pub(crate) async fn ensure(
        home: &Path,
        url: &str,
        tenant: &FirstTenant,
        receiver: &str,
    ) -> anyhow::Result<Self> {
        let maker = Maker::new(home, url, tenant, receiver).await?;
        let kept = std::fs::read_to_string(&maker.file)
            .ok()
            .and_then(|text| serde_json::from_str::<Self>(&text).ok());
        let demo = match kept {
            Some(demo) if demo.tenant == maker.tenant => maker.refresh(demo).await?,
            _ => maker.make().await?,
        };
        write_private(&maker.file, &serde_json::to_string_pretty(&demo)?)?;
        Ok(demo)
    }
}

struct Maker {
    file: PathBuf,
    url: String,
    tenant: String,
    key: String,
    receiver: String,
    model: String,
    http: reqwest::Client,
}

impl Maker {
    async fn new(
        home: &Path,
        url: &str,
        tenant: &FirstTenant,
        receiver: &str,
    ) -> anyhow::Result<Self> {
        let mut maker = Self {
            file: home.join("demo.json"),
            url: url.to_owned(),
            tenant: tenant.id.to_string(),
            key: tenant.api_key.expose_secret().to_owned(),
            receiver: receiver.to_owned(),
            model: Env::process().text("SWITCHYARD_DEMO_MODEL", ""),
            http: servicekit::peer::internal_http()?,
        };
        if maker.model.is_empty() {
            maker.model = maker.usual_model().await?;
        }
        Ok(maker)
    }

    /// A real model when the engine has a key for one, which only the engine knows.
    async fn usual_model(&self) -> anyhow::Result<String> {
        let models = self.ask(self.http.get(format!("{}/v1/models", self.url))).await?;
        let listed = models["data"].as_array();
        let real = listed
            .into_iter()
            .flatten()
            .any(|listed| listed["id"].as_str() == Some("openai:*") && listed["available"] == true);
        Ok(if real { "openai:gpt-4o-mini" } else { "sim:demo" }.to_owned())
    }

    async fn make(&self) -> anyhow::Result<Demo> {
        let credential = json!({
            "name": "demo-key", "meta": { "for": "the demo receiver" },
            "credentials": { "api_key": format!("demo-{:032x}", rand::random::<u128>()) },
        });
        let path = format!("/tenant/{}/credentials", self.tenant);
        let credential_id = id(&self.send("POST", &path, &credential).await?, "credential_id")?;
        let tool_id = id(&self.send("POST", "/v1/tools", &self.tool()).await?, "tool_id")?;
        let agent_id = id(&self.send("POST", "/v1/agents", &self.agent()).await?, "agent_id")?;
        let link = json!({ "credential_id": credential_id });
        self.send("PUT", &format!("/v1/agents/{agent_id}/tools/{tool_id}"), &link).await?;
        let trigger = json!({ "system": "webhook", "options": {} });
        let made = self.send("POST", &format!("/agent/{agent_id}/trigger"), &trigger).await?;
        Ok(Demo {
            tenant: self.tenant.clone(),
            receiver: self.receiver.clone(),
            model: self.model.clone(),
            credential_id,
            agent_id,
            tool_id,
            hook: id(&made, "hook_url")?,
            secret: id(&made, "signing_secret")?,
        })
    }

    async fn refresh(&self, mut demo: Demo) -> anyhow::Result<Demo> {
        if demo.receiver != self.receiver {
            let moved = json!({ "config": { "url": self.receiver } });
            self.send("PATCH", &format!("/v1/tools/{}", demo.tool_id), &moved).await?;
            demo.receiver.clone_from(&self.receiver);
        }
        if demo.model != self.model {
            let patch = json!({ "model": self.model });
            self.send("PATCH", &format!("/v1/agents/{}", demo.agent_id), &patch).await?;
            demo.model.clone_from(&self.model);
        }
        Ok(demo)
    }

    fn tool(&self) -> Value {
        json!({
            "name": "take_note",
            "description": "Stores a note.",
            "kind": "http",
            "effect": "unsafe",
            "parameters": {
                "type": "object",
                "properties": { "text": { "type": "string", "description": "The note, one line." } },
                "required": ["text"],
                "additionalProperties": false,
            },
            "config": {
                "method": "POST",
                "url": self.receiver,
                "credential": { "in": "header", "name": "x-demo-key", "field": "api_key" },
            },
        })
    }

    fn agent(&self) -> Value {
        json!({
            "name": "demo-note-keeper",
            "description": "Made by Switchyard for a first try: notes every webhook it is sent.",
            "model": self.model,
            "instructions": INSTRUCTIONS,
        })
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let method = reqwest::Method::from_bytes(method.as_bytes())?;
        self.ask(self.http.request(method, format!("{}{path}", self.url)).json(body)).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let request = request.bearer_auth(&self.key).build()?;
        let what = format!("{} {}", request.method(), request.url().path());
        let response = self.http.execute(request).await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{what} answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{what} answered something unreadable"))
    }
}

fn id(answer: &Value, field: &str) -> anyhow::Result<String> {
    answer[field]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("the answer has no `{field}`: {answer}"))
}
