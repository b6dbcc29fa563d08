//! `credsvc` gives out secrets, to agents that were granted them.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use servicekit::{Peer, PeerError, peer::Ask};
use shared_models::{
    AgentId, CredentialId, GrantId, ModelId, RunId, TenantId, UserId, WebhookEndpointId,
};

use crate::error::Error;

/// The code of a refusal that ends when the credential is connected again.
const NEEDS_RECONNECT: &str = "credential_needs_reconnect";

#[derive(Clone, Debug)]
pub(crate) struct Credsvc(pub(super) Peer);

/// Which secret, and in whose name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    pub(crate) tenant: TenantId,
    pub(crate) run: RunId,
    pub(crate) agent: AgentId,
    pub(crate) owner: UserId,
    pub(crate) credential: CredentialId,
}

/// Who was granted a credential.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "kind", content = "id", rename_all = "lowercase")]
pub(crate) enum Grantee {
    Agent(AgentId),
    Model(ModelId),
    Webhook(WebhookEndpointId),
}

/// A resolved credential. Lives as long as one call, where it is not kept for its lease.
#[derive(Clone, Deserialize)]
pub(crate) struct Secret {
    credentials: Map<String, Value>,
    #[serde(default)]
    ttl_seconds: u64,
}

/// A credential that nobody can use before somebody connects it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Needed {
    pub(crate) credential_id: CredentialId,
    /// In words for a person.
    pub(crate) reason: String,
}

#[derive(Deserialize)]
struct Granted {
    #[allow(dead_code, reason = "read to check that it is there")]
    grant_id: GrantId,
}

impl Credsvc {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(peer)
    }

    /// Fetches a secret for one call of a run. The purpose is audited over there.
    pub(crate) async fn resolve(
        &self,
        wants: &Wants,
        purpose: &str,
        host: Option<String>,
    ) -> Result<Secret, Error> {
        self.resolve_for(Grantee::Agent(wants.agent), wants, purpose, host).await
    }

    /// The same by the right of somebody else than the agent.
    pub(crate) async fn resolve_for(
        &self,
        grantee: Grantee,
        wants: &Wants,
        purpose: &str,
        host: Option<String>,
    ) -> Result<Secret, Error> {
        let path = format!("/internal/credentials/{}/resolve", wants.credential);
        let mut body = json!({ "grantee": grantee, "owner": wants.owner, "purpose": purpose });
        if let (Some(host), Value::Object(fields)) = (host, &mut body) {
            fields.insert("host".into(), host.into());
        }
        let ask = Ask::new(wants.tenant, purpose).for_run(wants.run);
        let asked = self.0.post(ask, &path, &body).await;
        asked.map_err(|error| needed(wants.credential, error))
    }

    /// Fetches a secret for a call that no run makes, by a model's right.
    pub(crate) async fn resolve_for_model(
        &self,
        tenant: TenantId,
        model: ModelId,
        owner: UserId,
        credential: CredentialId,
        purpose: &str,
    ) -> Result<Secret, Error> {
        let path = format!("/internal/credentials/{credential}/resolve");
        let grantee = Grantee::Model(model);
        let body = json!({ "grantee": grantee, "owner": owner, "purpose": purpose });
        self.0.post(Ask::new(tenant, purpose), &path, &body).await.map_err(refused)
    }

    /// Records that the person with this token lets the agent use a credential.
    pub(crate) async fn grant(
        &self,
        tenant: TenantId,
        token: &str,
        agent: AgentId,
        owner: UserId,
        credential: CredentialId,
    ) -> Result<(), Error> {
        let ask = Ask::new(tenant, "attach a credential to an agent").on_behalf(token);
        self.record(ask, Grantee::Agent(agent), owner, credential).await
    }

    /// Records that the person with this token lets a model, and so the whole tenant, use a credential.
    pub(crate) async fn grant_to_model(
        &self,
        tenant: TenantId,
        token: &str,
        model: ModelId,
        owner: UserId,
        credential: CredentialId,
    ) -> Result<(), Error> {
        let ask = Ask::new(tenant, "attach a credential to a model").on_behalf(token);
        self.record(ask, Grantee::Model(model), owner, credential).await
    }

    pub(super) async fn record(
        &self,
        ask: Ask<'_>,
        grantee: Grantee,
        owner: UserId,
        credential: CredentialId,
    ) -> Result<(), Error> {
        let body = json!({ "credential_id": credential, "grantee": grantee, "owner": owner });
        let granted = self.0.post::<_, Granted>(ask, "/internal/grants", &body).await;
        granted.map(drop).map_err(refused)
    }

    /// Takes back everything a model was granted.
    pub(crate) async fn revoke_model(&self, tenant: TenantId, model: ModelId) -> Result<(), Error> {
        let ask = Ask::new(tenant, "a model was changed");
        Ok(self.0.delete(ask, &format!("/internal/grants/model/{model}")).await?)
    }

    /// Takes back one credential that an agent was granted.
    pub(crate) async fn revoke(
        &self,
        tenant: TenantId,
        agent: AgentId,
        credential: CredentialId,
    ) -> Result<(), Error> {
        let ask = Ask::new(tenant, "nothing of an agent uses a credential any more");
        Ok(self.0.delete(ask, &format!("/internal/grants/agent/{agent}/{credential}")).await?)
    }

    /// Takes back everything an agent was granted.
    pub(crate) async fn revoke_all(&self, tenant: TenantId, agent: AgentId) -> Result<(), Error> {
        let ask = Ask::new(tenant, "an agent was deleted");
        Ok(self.0.delete(ask, &format!("/internal/grants/agent/{agent}")).await?)
    }
}

impl Secret {
    /// How long it may be kept in memory.
    pub(crate) fn lives(&self) -> Duration {
        Duration::from_secs(self.ttl_seconds)
    }

    /// One field, as text.
    pub(crate) fn field(&self, name: &str) -> Option<SecretString> {
        as_text(self.credentials.get(name)?)
    }

    /// The field, when there is only one.
    pub(crate) fn only_field(&self) -> Option<SecretString> {
        let mut fields = self.credentials.values();
        fields.next().filter(|_| fields.next().is_none()).and_then(as_text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

fn as_text(value: &Value) -> Option<SecretString> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// What of a refusal a run waits for, apart from the rest.
fn needed(credential_id: CredentialId, error: PeerError) -> Error {
    match error {
        PeerError::Problem(_, problem) if problem.code == NEEDS_RECONNECT => {
            Error::NeedsReconnect(Needed { credential_id, reason: problem.detail })
        }
        error => refused(error),
    }
}

/// A refusal is the client's to read; a peer that is away is not.
pub(super) fn refused(error: PeerError) -> Error {
    match error {
        PeerError::Problem(_, problem) if matches!(problem.status, 403 | 404 | 409 | 422) => {
            let title = problem.title.trim_end_matches('.');
            Error::CredentialRefused(format!("{title}: {}", problem.detail))
        }
        error => error.into(),
    }
}
