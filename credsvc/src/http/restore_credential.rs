//! `POST /v1/credentials/{credential_id}/restore`

use axum::{Json, extract::State};
use servicekit::{Caller, Path, Problem, scope::CredentialsWrite};
use shared_models::{CredentialId, ProblemBody, events::credential::CredentialUpdated};

use super::{Person, view::CredentialView};
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    origin::Origin,
    store::{self, credential::Credential},
};

/// Bring a deleted credential back.
///
/// For a month after it was deleted (`SWITCHYARD_SHRED_DAYS`); then nothing is left of it. Its owner, or an administrator
/// when it is the tenant's. Agents and triggers that used it are given it anew. One that is not deleted stays as it is.
#[utoipa::path(post, path = "/v1/credentials/{credential_id}/restore", tag = "credentials",
    params(("credential_id" = CredentialId, Path)), security(("token" = ["credentials:write"])),
    responses((status = 200, body = CredentialView), (status = "default", body = ProblemBody)))]
pub(crate) async fn restore_credential(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    origin: Origin,
    Path(id): Path<CredentialId>,
) -> Result<Json<CredentialView>, Problem> {
    let entry = Entry::new(&caller, &origin, Action::Restore).about(id);
    match restore(&app, &caller, id, entry.clone()).await {
        Ok(credential) => Ok(Json(CredentialView::masked(credential))),
        Err(error) => Err(app.ledger.refused(caller.tenant, entry, error).await.into()),
    }
}

async fn restore(
    app: &App,
    caller: &Caller<CredentialsWrite>,
    id: CredentialId,
    entry: Entry,
) -> Result<Credential, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let person = Person::of(caller)?;
    let deleted = store::deleted::hold(&mut tx, id, app.shred_days).await?;
    if let Some(deleted) = &deleted {
        person.check_may_change_of(id, deleted.user_id)?;
        store::deleted::restore(&mut tx, id, &deleted.name).await?;
    }
    let found = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
    person.check_may_change(&found)?;
    if deleted.is_some() {
        let event =
            CredentialUpdated { credential_id: id, user_id: found.user_id, version: found.version };
        pubsub::emit(&mut tx, &event).await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
    }
    Ok(found)
}
