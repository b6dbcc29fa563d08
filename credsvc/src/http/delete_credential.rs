//! `DELETE /tenant/{tenant_id}/credentials/{credential_id}`

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use servicekit::{Caller, Params, Path, Problem, scope::CredentialsWrite};
use shared_models::{CredentialId, ProblemBody, TenantId, events::credential::CredentialDeleted};

use super::{Person, check_tenant};
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    origin::Origin,
    store,
};

/// How to delete.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteCredential {
    /// Delete although agents or triggers use it; they can no longer use it then.
    #[serde(default)]
    #[param(required = false)]
    force: bool,
}

/// Delete a credential.
///
/// Its owner, or an administrator when it is the tenant's. Refused while agents or triggers use it, unless forced.
#[utoipa::path(delete, path = "/tenant/{tenant_id}/credentials/{credential_id}", tag = "credentials",
    params(("tenant_id" = TenantId, Path), ("credential_id" = CredentialId, Path), DeleteCredential),
    security(("token" = ["credentials:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_credential(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    origin: Origin,
    Path((tenant, id)): Path<(TenantId, CredentialId)>,
    Params(DeleteCredential { force }): Params<DeleteCredential>,
) -> Result<StatusCode, Problem> {
    check_tenant(&caller, tenant)?;
    let entry = Entry::new(&caller, &origin, Action::Delete).about(id);
    match delete(&app, &caller, id, force, entry.clone()).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(app.ledger.refused(tenant, entry, error).await.into()),
    }
}

async fn delete(
    app: &App,
    caller: &Caller<CredentialsWrite>,
    id: CredentialId,
    force: bool,
    entry: Entry,
) -> Result<(), Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
    Person::of(caller)?.check_may_change(&found)?;
    // Hidden first: the row is ours then, and no grant can be added before we commit.
    if !store::credential::mark_deleted(&mut tx, id).await? {
        return Err(Error::NotFound(id));
    }
    let used_by = store::grant::list_of_credential(&mut tx, id).await?;
    if !used_by.is_empty() && !force {
        return Err(Error::InUse(used_by));
    }
    store::grant::delete_of_credential(&mut tx, id).await?;
    let event =
        CredentialDeleted { credential_id: id, user_id: found.user_id, version: found.version };
    pubsub::emit(&mut tx, &event).await?;
    audit::append(&mut tx, entry).await?;
    Ok(tx.commit().await?)
}
