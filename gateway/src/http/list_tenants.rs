//! `GET /v1/tenants`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use servicekit::{Caller, Params, Problem, scope::PlatformAdmin};
use shared_models::ProblemBody;

use crate::{
    App,
    store::{self, tenant::Tenant},
};

/// List all tenants of the platform.
#[utoipa::path(get, path = "/v1/tenants", tag = "platform", params(PageQuery),
    security(("token" = ["platform:admin"])),
    responses((status = 200, body = Page<Tenant>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_tenants(
    State(app): State<App>,
    _: Caller<PlatformAdmin>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Tenant>>, Problem> {
    let after = page.after()?;
    let mut tx = app.db.system("a platform administrator lists the tenants").await?;
    let tenants = store::tenant::list_page(&mut tx, after, page.limit()).await?;
    tx.commit().await?;
    Ok(Json(Page::new(tenants, page.limit(), Tenant::position)))
}
