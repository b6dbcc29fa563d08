//! `DELETE /internal/grants/{kind}/{id}/{credential_id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, Path, Problem, scope::CredentialsGrant};
use shared_models::{CredentialId, ProblemBody};

use crate::{
    App, Error,
    audit::{self, Action, Entry},
    grantee::Grantee,
    origin::Origin,
    store,
};

/// Take one credential from an agent or trigger.
///
/// For services, when the last thing that used it is gone. Needs nobody's token: it only takes away. Taking what is not
/// there is no error.
#[utoipa::path(delete, path = "/internal/grants/{kind}/{id}/{credential_id}", tag = "internal",
    params(("kind" = String, Path, description = "`agent` or `trigger`"),
        ("id" = String, Path, description = "Its id."), ("credential_id" = CredentialId, Path)),
    security(("token" = ["credentials:grant"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_grant(
    State(app): State<App>,
    caller: Caller<CredentialsGrant>,
    origin: Origin,
    Path((kind, id, credential)): Path<(String, String, CredentialId)>,
) -> Result<StatusCode, Problem> {
    if caller.user().is_some() {
        return Err(Error::ServicesOnly.into());
    }
    let grantee = Grantee::parse(&kind, &id)
        .ok_or_else(|| Problem::not_found("grantee of that kind and id"))?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if store::grant::delete(&mut tx, grantee, credential).await? {
        let entry = Entry::new(&caller, &origin, Action::Revoke).about(credential).grantee(grantee);
        audit::append(&mut tx, entry).await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
