//! `POST /v1/credentials/{credential_id}/revoke`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, Problem, scope::CredentialsWrite};
use shared_models::{CredentialId, ProblemBody};

use super::Person;
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    oauth::revocation::Told,
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
    let provider = app.renewer.take_back_all_of(&credential).await;
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
        let now = Credential { health: Health::Revoked, health_reason: None, ..found };
        pubsub::emit(&mut tx, &now.health_changed()).await?;
    }
    // It may have been renewed until now. Its provider is told of the newest there is.
    let found = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(found)
}
