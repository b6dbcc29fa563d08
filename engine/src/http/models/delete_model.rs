//! `DELETE /v1/model-settings/{model_id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, IfMatch, Path, scope::SettingsWrite};
use shared_models::{ModelId, ProblemBody};

use crate::{app::App, error::Error, store};

/// Take back what the tenant says about a model. The platform's defaults hold for its name again.
#[utoipa::path(delete, path = "/v1/model-settings/{model_id}", tag = "models",
    params(("model_id" = ModelId, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["settings:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_model_setting(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path(model_id): Path<ModelId>,
    if_match: IfMatch,
) -> Result<StatusCode, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let model = store::model::find_for_update(&mut tx, model_id).await?;
    if_match.check(model.version)?;
    store::model::delete(&mut tx, model_id).await?;
    tx.commit().await?;
    // A grant to a model that is not there opens nothing, so failing is no error.
    if model.fields.credential_id.is_some()
        && let Err(error) = app.credsvc.revoke_model(caller.tenant, model_id).await
    {
        tracing::warn!(%error, %model_id, "grants of a model could not be taken back");
    }
    Ok(StatusCode::NO_CONTENT)
}
