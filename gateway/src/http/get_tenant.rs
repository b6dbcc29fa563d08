//! `GET /v1/tenant`

use axum::extract::State;
use servicekit::{Caller, Problem, Tagged, scope::MembersRead};
use shared_models::ProblemBody;

use crate::{
    App,
    store::{self, tenant::Tenant},
};

/// The caller's tenant.
#[utoipa::path(get, path = "/v1/tenant", tag = "identity", security(("token" = ["members:read"])),
    responses((status = 200, body = Tenant, headers(("ETag" = String))), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_tenant(
    State(app): State<App>,
    caller: Caller<MembersRead>,
) -> Result<Tagged<Tenant>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let tenant = store::tenant::find(&mut tx, caller.tenant).await?;
    tx.commit().await?;
    let tenant = tenant.ok_or_else(|| Problem::not_found("such tenant"))?;
    Ok(Tagged(tenant.version, tenant))
}
