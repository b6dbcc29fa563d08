//! `GET /v1/model-settings` and one of them

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use servicekit::{Caller, Params, Path, Tagged, scope::AgentsRead};
use shared_models::{ModelId, ProblemBody};

use crate::{
    app::App,
    error::Error,
    store::{self, model::ModelSetting},
};

/// What the tenant says about models, newest first.
#[utoipa::path(get, path = "/v1/model-settings", tag = "models", params(PageQuery),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<ModelSetting>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_model_settings(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<ModelSetting>>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    Ok(Json(store::model::list_page(&mut tx, &page).await?))
}

/// What the tenant says about one model. Its `ETag` is its version.
#[utoipa::path(get, path = "/v1/model-settings/{model_id}", tag = "models",
    params(("model_id" = ModelId, Path)),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = ModelSetting), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_model_setting(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(model_id): Path<ModelId>,
) -> Result<Tagged<ModelSetting>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let model = store::model::find(&mut tx, model_id).await?;
    Ok(Tagged(model.version, model))
}
