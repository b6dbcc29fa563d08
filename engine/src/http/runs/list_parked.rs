use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use pubsub::parked::{self, ListError, ParkedEvent};
use servicekit::{Caller, Params, Problem, scope::AuditRead};
use shared_models::ProblemBody;

use crate::app::App;

/// List fired triggers that could not become runs because handling them failed, newest first.
#[utoipa::path(get, path = "/v1/runs/parked", tag = "runs", security(("token" = ["audit:read"])), params(PageQuery),
    responses((status = 200, body = Page<ParkedEvent>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_parked(
    State(app): State<App>,
    caller: Caller<AuditRead>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<ParkedEvent>>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    match parked::list(&mut tx, &page).await {
        Ok(found) => Ok(Json(found)),
        Err(ListError::Cursor(error)) => Err(error.into()),
        Err(ListError::Db(error)) => Err(error.into()),
    }
}
