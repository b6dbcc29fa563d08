//! `POST /v1/model-settings`

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use servicekit::{Body, Caller, Created, Once, etag, scope::SettingsWrite};
use shared_models::{ModelId, ProblemBody};

use crate::{
    app::App,
    error::Error,
    models::setting::ModelFields,
    store::{self, model::ModelSetting},
};

/// Add a model, or say otherwise about one.
///
/// Until an administrator says otherwise, the simulated models are there for everybody, and a provider's models for agents
/// with a credential of their own and wherever the operator has configured the provider. An entry for `openai:gpt-4o` goes
/// before one for `openai:*`; `enabled: false` takes a model away. A run with a model that is not enabled is refused with 422.
#[utoipa::path(post, path = "/v1/model-settings", tag = "models",
    request_body(content = ModelFields, example = json!({ "name": "ollama:*", "base_url": "http://ollama.internal:11434/v1",
        "kind": "internal", "description": "Our own machines." })),
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["settings:write"])),
    responses((status = 201, body = ModelSetting), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_model_setting(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    mut once: Once,
    Body(fields): Body<ModelFields>,
) -> Result<Response, Error> {
    let owner = caller.person()?;
    fields.check().map_err(Error::Invalid)?;
    let id = ModelId::mint();
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &fields).await? {
        return Ok(stored);
    }
    if let Some(credential) = fields.credential_id {
        // No network call inside a transaction.
        drop(tx);
        let (tenant, token) = (caller.tenant, caller.token());
        app.credsvc.grant_to_model(tenant, token, id, owner, credential).await?;
        tx = app.db.begin(caller.tenant).await?;
        if let Some(stored) = once.begin(&mut tx, &caller, &fields).await? {
            return Ok(stored);
        }
    }
    let made = store::model::insert(&mut tx, id, owner, &fields).await?;
    once.remember(&mut tx, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    Ok(([(header::ETAG, etag(made.version))], Created(made)).into_response())
}
