//! `POST /v1/credentials/{credential_id}/revoke`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, Problem, scope::CredentialsWrite};
use shared_models::{CredentialId, ProblemBody};

use super::Person;
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    finish::endpoint,
    oauth::{
        client,
        provider::{Provider, RevokeBy},
    },
    origin::Origin,
    store::{
        self,
        credential::{Credential, Health},
    },
};

/// What was taken back.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Revoked {
    credential_id: CredentialId,
    /// What its provider did: `revoked`, `failed`, or `not_asked` when there is nobody to ask.
    provider: Told,
}

/// What the provider said.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// It took its tokens back.
    Revoked,
    /// It did not, or was not reached; they end by themselves.
    Failed,
    /// It has no way to, or the credential is no connection.
    NotAsked,
}

/// Take a credential back.
///
/// Ends its use at once: whoever asks for it from now on is refused. A connection's tokens are taken back at its provider
/// as well, where there is a way. Its owner, or an administrator when it is the tenant's. Connecting it again brings it
/// back.
#[utoipa::path(post, path = "/v1/credentials/{credential_id}/revoke", tag = "credentials",
    params(("credential_id" = CredentialId, Path)), security(("token" = ["credentials:write"])),
    responses((status = 200, body = Revoked), (status = "default", body = ProblemBody)))]
pub(crate) async fn revoke_credential(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    origin: Origin,
    Path(id): Path<CredentialId>,
) -> Result<Json<Revoked>, Problem> {
    let entry = Entry::new(&caller, &origin, Action::Disconnect).about(id);
    let credential = match revoke(&app, &caller, id, entry.clone()).await {
        Ok(credential) => credential,
        Err(error) => return Err(app.ledger.refused(caller.tenant, entry, error).await.into()),
    };
    let provider = tell(&app, &credential).await.unwrap_or_else(|error| {
        tracing::info!(credential = %id, %error, "a provider was not told of a revocation");
        Told::Failed
    });
    Ok(Json(Revoked { credential_id: id, provider }))
}

/// Here first: whatever the provider does, nobody gets it any more.
async fn revoke(
    app: &App,
    caller: &Caller<CredentialsWrite>,
    id: CredentialId,
    entry: Entry,
) -> Result<Credential, Error> {
    const ANY: &[Health] = &[
        Health::Ok,
        Health::Expiring,
        Health::NeedsReconnect,
        Health::FailedTest,
        Health::Expired,
    ];
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
    Person::of(caller)?.check_may_change(&found)?;
    if store::refresh::set_health(&mut tx, id, ANY, Health::Revoked, Some("revoked")).await? {
        let now = Credential { health: Health::Revoked, health_reason: None, ..found.clone() };
        pubsub::emit(&mut tx, &now.health_changed()).await?;
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(found)
}

async fn tell(app: &App, credential: &Credential) -> Result<Told, Error> {
    let Some(config) = credential.provider_config_id else { return Ok(Told::NotAsked) };
    let mut tx = app.db.begin(credential.tenant_id).await?;
    let config = store::provider_config::find(&mut tx, config).await?;
    drop(tx);
    let Some(config) = config else { return Ok(Told::NotAsked) };
    let provider = Provider::of(&config.provider, &config.settings)?;
    let Some(at) = provider.revoke_url.clone() else { return Ok(Told::NotAsked) };
    let fields = app.keys.unseal(credential).await?;
    let by = provider.revoke_by.unwrap_or_default();
    let refresh = fields.text("refresh_token").filter(|_| by == RevokeBy::Form);
    let token = refresh.or_else(|| fields.text("access_token"));
    let Some(token) = token else { return Ok(Told::NotAsked) };
    let endpoint = endpoint(app, &config, &provider).await?;
    let done = client::revoke(&app.egress, &endpoint, &at, (by, &token), app.oauth_timeout).await;
    Ok(if done { Told::Revoked } else { Told::Failed })
}
