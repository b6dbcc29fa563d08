//! Tokens that nobody is to use any more are taken back at their provider, where that has a way.

use serde::Serialize;
use shared_models::{ProviderConfigId, TenantId};

use super::{
    client,
    provider::{Provider, RevokeBy},
    question::endpoint,
    renew::Renewer,
};
use crate::{
    Error,
    fields::Fields,
    store::{self, credential::Credential, provider_config::ProviderConfig},
};

/// What the provider said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// It took its tokens back.
    Revoked,
    /// It did not, or was not reached; they end by themselves.
    Failed,
    /// It has no way to, or the credential is no connection.
    NotAsked,
}

impl Renewer {
    /// Takes back what a credential holds.
    pub(crate) async fn take_back_all_of(&self, credential: &Credential) -> Told {
        let taken = async {
            if credential.provider_config_id.is_none() {
                return Ok(Told::NotAsked);
            }
            let fields = self.keys.unseal(credential).await?;
            self.take_back_of(credential.tenant_id, credential.provider_config_id, &fields).await
        };
        taken.await.unwrap_or_else(|error: Error| {
            tracing::info!(credential = %credential.id, %error, "a provider was not told of a revocation");
            Told::Failed
        })
    }

    /// Takes back these tokens of a connection.
    pub(super) async fn take_back_of(
        &self,
        tenant: TenantId,
        config: Option<ProviderConfigId>,
        fields: &Fields,
    ) -> Result<Told, Error> {
        let Some(config) = config else { return Ok(Told::NotAsked) };
        let mut tx = self.db.begin(tenant).await?;
        let config = store::provider_config::find(&mut tx, config).await?;
        drop(tx);
        match config {
            Some(config) => self.take_back(&config, fields).await,
            None => Ok(Told::NotAsked),
        }
    }

    /// Takes back these tokens of a client's.
    pub(crate) async fn take_back(
        &self,
        config: &ProviderConfig,
        fields: &Fields,
    ) -> Result<Told, Error> {
        let provider = Provider::of(&config.provider, &config.settings)?;
        let Some(at) = &provider.revoke_url else { return Ok(Told::NotAsked) };
        let by = provider.revoke_by.unwrap_or_default();
        // With the refresh token the others end as well (RFC 7009), where it can be said.
        let refresh = fields.text("refresh_token").filter(|_| by == RevokeBy::Form);
        let token = refresh.or_else(|| fields.text("access_token"));
        let Some(token) = token else { return Ok(Told::NotAsked) };
        let endpoint = endpoint(&self.keys, config, &provider).await?;
        let done = client::revoke(&self.egress, &endpoint, at, (by, &token), self.timeout).await;
        Ok(if done { Told::Revoked } else { Told::Failed })
    }
}
