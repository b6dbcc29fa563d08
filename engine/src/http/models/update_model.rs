//! `PATCH /v1/model-settings/{model_id}`

use axum::extract::State;
use serde_json::Value;
use servicekit::{Body, Caller, IfMatch, Path, Tagged, merge_patch, scope::SettingsWrite};
use shared_models::{ModelId, ProblemBody};

use crate::{
    app::App,
    error::Error,
    models::setting::ModelFields,
    store::{self, model::ModelSetting},
};

/// Change what the tenant says about a model.
///
/// A JSON Merge Patch (RFC 7396). Runs under way keep what the model was when they began. A credential is used in the name
/// of whoever set it.
#[utoipa::path(patch, path = "/v1/model-settings/{model_id}", tag = "models",
    params(("model_id" = ModelId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({ "enabled": false })),
    security(("token" = ["settings:write"])),
    responses((status = 200, body = ModelSetting), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_model_setting(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path(model_id): Path<ModelId>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<ModelSetting>, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let mut model = store::model::find_for_update(&mut tx, model_id).await?;
    if_match.check(model.version)?;
    let mut fields = patched(&model, &patch)?;
    let mut owner = model.owner;
    let new = fields.credential_id.filter(|id| model.fields.credential_id != Some(*id));
    if let Some(credential) = new {
        // No network call inside a transaction: look, ask, then look again.
        drop(tx);
        let (tenant, token) = (caller.tenant, caller.token());
        app.credsvc.grant_to_model(tenant, token, model_id, by, credential).await?;
        tx = app.db.begin(caller.tenant).await?;
        model = store::model::find_for_update(&mut tx, model_id).await?;
        if_match.check(model.version)?;
        fields = patched(&model, &patch)?;
        owner = by;
    }
    if fields == model.fields {
        return Ok(Tagged(model.version, model));
    }
    let model = store::model::update(&mut tx, model_id, owner, &fields).await?;
    tx.commit().await?;
    Ok(Tagged(model.version, model))
}

fn patched(model: &ModelSetting, patch: &Value) -> Result<ModelFields, Error> {
    let fields: ModelFields = merge_patch(&model.fields, patch)?;
    fields.check().map_err(Error::Invalid)?;
    Ok(fields)
}
