//! The vault: signing secrets are made there, granted there and read from there.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use servicekit::{Peer, PeerError, peer::Ask};
use shared_models::{CredentialId, TenantId, TriggerId, UserId};

/// A credential's fields.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Resolved {
    /// Field by name.
    #[serde(deserialize_with = "texts")]
    pub credentials: BTreeMap<String, SecretString>,
    /// How long it may be kept.
    pub ttl_seconds: u64,
}

#[derive(Deserialize)]
struct Made {
    credential_id: CredentialId,
}

/// A client of the vault.
#[derive(Clone, Debug)]
pub(crate) struct Credsvc(pub Peer);

impl Credsvc {
    /// Stores signing secrets that only their owner's triggers can use.
    pub(crate) async fn store(
        &self,
        tenant: TenantId,
        subject: &str,
        owner: UserId,
        trigger: TriggerId,
        fields: &Value,
    ) -> Result<CredentialId, PeerError> {
        let ask = Ask::new(tenant, "trigger.save").on_behalf(subject);
        let body = json!({
            "user_id": owner,
            // Names are unique, and a trigger may be given a new secret.
            "name": format!("Signing secret of {trigger} ({})", hex::encode(rand::random::<[u8; 4]>())),
            "meta": { "trigger_id": trigger },
            "credentials": fields,
        });
        let made: Made = self.0.post(ask, "/internal/credentials", &body).await?;
        Ok(made.credential_id)
    }

    /// Records that the person lets this trigger use the credential.
    pub(crate) async fn grant(
        &self,
        tenant: TenantId,
        subject: &str,
        owner: UserId,
        trigger: TriggerId,
        credential: CredentialId,
    ) -> Result<(), PeerError> {
        let ask = Ask::new(tenant, "trigger.save").on_behalf(subject);
        let body = json!({
            "credential_id": credential,
            "grantee": { "kind": "trigger", "id": trigger },
            "owner": owner,
        });
        self.0.post::<_, Value>(ask, "/internal/grants", &body).await.map(drop)
    }

    /// Takes back everything this trigger was granted; nothing to take back is fine.
    pub(crate) async fn revoke(
        &self,
        tenant: TenantId,
        trigger: TriggerId,
    ) -> Result<(), PeerError> {
        let ask = Ask::new(tenant, "trigger.delete");
        match self.0.delete(ask, &format!("/internal/grants/trigger/{trigger}")).await {
            Err(error) if error.status() != Some(404) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes one credential back from this trigger; nothing to take back is fine.
    pub(crate) async fn take_back(
        &self,
        tenant: TenantId,
        trigger: TriggerId,
        credential: CredentialId,
    ) -> Result<(), PeerError> {
        let ask = Ask::new(tenant, "trigger.save");
        let path = format!("/internal/grants/trigger/{trigger}/{credential}");
        match self.0.delete(ask, &path).await {
            Err(error) if error.status() != Some(404) => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes a credential in the name of a person, unless anything is still granted it; one that is gone already is fine.
    pub(crate) async fn delete(
        &self,
        tenant: TenantId,
        subject: &str,
        credential: CredentialId,
    ) -> Result<(), PeerError> {
        let ask = Ask::new(tenant, "trigger.delete").on_behalf(subject);
        let path = format!("/tenant/{tenant}/credentials/{credential}");
        match self.0.delete(ask, &path).await {
            Err(error) if error.status() != Some(404) => Err(error),
            _ => Ok(()),
        }
    }

    /// The secret a hook is verified with.
    pub(crate) async fn resolve(
        &self,
        tenant: TenantId,
        owner: UserId,
        trigger: TriggerId,
        credential: CredentialId,
    ) -> Result<Resolved, PeerError> {
        self.resolve_for((tenant, owner, trigger, credential), "webhook.verify").await
    }

    /// The fields of a credential, for a purpose.
    pub(crate) async fn resolve_for(
        &self,
        (tenant, owner, trigger, credential): (TenantId, UserId, TriggerId, CredentialId),
        purpose: &'static str,
    ) -> Result<Resolved, PeerError> {
        let ask = Ask::new(tenant, purpose);
        let body = json!({
            "grantee": { "kind": "trigger", "id": trigger },
            "owner": owner,
            "purpose": purpose,
        });
        self.0.post(ask, &format!("/internal/credentials/{credential}/resolve"), &body).await
    }
}

/// Fields that are no text cannot be secrets of a webhook and are left out.
fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, SecretString>, D::Error> {
    let fields = BTreeMap::<String, Value>::deserialize(from)?;
    Ok(fields
        .into_iter()
        .filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text.into())),
            _ => None,
        })
        .collect())
}
