//! `DELETE /internal/grants/{kind}/{id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, Path, Problem, scope::CredentialsGrant};
use shared_models::ProblemBody;

use crate::{
    App, Error,
    audit::{self, Action, Entry},
    grantee::Grantee,
    origin::Origin,
    store,
};

/// Take every credential from an agent or trigger.
///
/// For services, when it is deleted or saved anew. Needs nobody's token: it only takes away.
#[utoipa::path(delete, path = "/internal/grants/{kind}/{id}", tag = "internal",
    params(("kind" = String, Path, description = "`agent` or `trigger`"),
        ("id" = String, Path, description = "Its id.")),
    security(("token" = ["credentials:grant"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_grants(
    State(app): State<App>,
    caller: Caller<CredentialsGrant>,
    origin: Origin,
    Path((kind, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    if caller.user().is_some() {
        return Err(Error::ServicesOnly.into());
    }
    let grantee = Grantee::parse(&kind, &id)
        .ok_or_else(|| Problem::not_found("grantee of that kind and id"))?;
    let mut tx = app.db.begin(caller.tenant).await?;
    for credential in store::grant::delete_of_grantee(&mut tx, grantee).await? {
        let entry = Entry::new(&caller, &origin, Action::Revoke).about(credential).grantee(grantee);
        audit::append(&mut tx, entry).await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
