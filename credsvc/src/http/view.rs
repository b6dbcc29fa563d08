//! A credential as it is shown.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use shared_models::{CredentialId, ProviderConfigId, TenantId, UserId, wire_time};

use crate::{
    fields::Fields,
    probe::Tested,
    store::credential::{Credential, Environment, Health},
};

/// A credential. People see its fields masked; services see them inside a grant.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Credential)]
pub(crate) struct CredentialView {
    pub(crate) credential_id: CredentialId,
    pub(crate) tenant_id: TenantId,
    /// Whose it is; null when it is the tenant's.
    pub(crate) user_id: Option<UserId>,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) environment: Environment,
    /// Free keys and values, to find it by.
    #[schema(value_type = Object)]
    pub(crate) meta: Value,
    /// Its fields. Masked: their names, and the last four characters of long texts.
    #[schema(value_type = Object)]
    pub(crate) credentials: Shown,
    /// Whether the fields are masked.
    pub(crate) masked: bool,
    /// Of the secret: rises when a field changes.
    pub(crate) version: i32,
    pub(crate) created_by: UserId,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) updated_at: DateTime<Utc>,
    /// To the minute; the audit knows each use.
    #[serde(serialize_with = "wire_time::maybe")]
    pub(crate) last_used_at: Option<DateTime<Utc>>,
    /// When it stops being given out.
    #[serde(serialize_with = "wire_time::maybe")]
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// The only hosts it may be sent to; any when empty.
    pub(crate) allowed_hosts: Vec<String>,
    /// What it is good for now.
    pub(crate) health: Health,
    /// Why, in a word.
    pub(crate) health_reason: Option<String>,
    /// What came of its last test.
    #[schema(value_type = Option<Tested>)]
    pub(crate) tested: Option<Value>,
    /// Of an OAuth connection.
    pub(crate) connection: Option<ConnectionView>,
}

/// The state of an OAuth connection.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Connection)]
pub(crate) struct ConnectionView {
    /// By which client; none when the credential is a client itself.
    oauth_client_id: Option<ProviderConfigId>,
    /// Whose account it is, if the provider said.
    account: Option<String>,
    scopes: Vec<String>,
    /// Of the access token; none when it does not expire.
    #[serde(serialize_with = "wire_time::maybe")]
    token_expires_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "wire_time::maybe")]
    refreshed_at: Option<DateTime<Utc>>,
}

/// What is shown of the fields.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    /// To people.
    Masked(Value),
    /// To services.
    Plain(Fields),
}

impl CredentialView {
    /// What people see.
    pub(crate) fn masked(credential: Credential) -> Self {
        let shown = Shown::Masked(credential.mask.clone());
        Self::new(credential, shown)
    }

    /// What a service sees inside a grant.
    pub(crate) fn plain(credential: Credential, fields: Fields) -> Self {
        Self::new(credential, Shown::Plain(fields))
    }

    fn new(credential: Credential, shown: Shown) -> Self {
        let connection = credential.is_connection().then(|| ConnectionView {
            oauth_client_id: credential.provider_config_id,
            account: credential.account.clone(),
            scopes: credential.scopes.clone(),
            token_expires_at: credential.token_expires_at,
            refreshed_at: credential.refreshed_at,
        });
        Self {
            credential_id: credential.id,
            tenant_id: credential.tenant_id,
            user_id: credential.user_id,
            name: credential.name,
            kind: credential.kind,
            environment: credential.environment,
            meta: credential.meta,
            masked: matches!(shown, Shown::Masked(_)),
            credentials: shown,
            version: credential.version,
            created_by: credential.created_by,
            created_at: credential.created_at,
            updated_at: credential.updated_at,
            last_used_at: credential.last_used_at,
            expires_at: credential.expires_at,
            allowed_hosts: credential.allowed_hosts,
            health: credential.health,
            health_reason: credential.health_reason,
            tested: credential.tested,
            connection,
        }
    }
}
