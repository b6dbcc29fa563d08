//! Who acts in the measurements: agents, their tools, hooks.

use serde_json::json;
use servicekit::SigningKey;
use shared_models::{Role, Service, TenantId, UserId};

use crate::{
    bench::Bench,
    fleet::{Agent, Fleet, Hook, text},
};

pub(super) struct Scene {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    /// Two model calls and one call of a tool that may be repeated.
    pub(super) worker: Agent,
    /// The same with a tool that may not.
    pub(super) careful: Agent,
    /// Starts `worker`.
    pub(super) hook: Hook,
    /// Names an agent that takes nothing.
    pub(super) nobody: Hook,
}

impl Scene {
    pub(super) async fn make(bench: &Bench, fleet: &Fleet) -> anyhow::Result<Self> {
        let api = &fleet.api;
        let url = format!("http://{}/tool", bench.mock_at);
        let repeatable = api.tool("look_up", "idempotent", &url).await?;
        let unsafe_tool = api.tool("act", "unsafe", &url).await?;
        let worker = api.agent("worker", "mock", Some(&repeatable)).await?;
        let careful = api.agent("careful", "mock", Some(&unsafe_tool)).await?;
        let resting = api.agent("resting", "mock", None).await?;
        let hook = api.hook(&worker).await?;
        let nobody = api.hook(&resting).await?;
        api.patch(&format!("/v1/agents/{}", resting.id), &json!({ "status": "paused" })).await?;
        let me = api.get("/v1/me").await?;
        let user = text(&me["user"], "id")?;
        Ok(Self {
            tenant: fleet.tenant.parse()?,
            user: user.parse()?,
            worker,
            careful,
            hook,
            nobody,
        })
    }

    /// What the gateway would send along for the person of the API key.
    pub(super) fn token(&self, fleet: &Fleet, audience: Service) -> anyhow::Result<String> {
        Ok(self.signed(&fleet.signing_key(Service::Gateway)?, audience))
    }

    /// The same, by the gateway's key.
    pub(super) fn signed(&self, key: &SigningKey, audience: Service) -> String {
        let now = servicekit::token::unix_now();
        let scopes = servicekit::scope::of_role(Role::Owner);
        key.sign(&servicekit::Claims {
            iss: Service::Gateway,
            aud: audience,
            sub: self.user.to_string(),
            exp: now + servicekit::token::LIFETIME,
            iat: now,
            tenant: self.tenant,
            user: Some(self.user),
            key: None,
            teams: Vec::new(),
            role: Some(Role::Owner),
            scopes: scopes.into_iter().map(str::to_owned).collect(),
            payloads: true,
            svc: None,
            purpose: None,
            run: None,
        })
    }
}
