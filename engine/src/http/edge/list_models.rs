//! `GET /v1/models`

use axum::{Json, extract::State};
use dbutil::Page;
use serde::Serialize;
use servicekit::{Caller, scope::AgentsRead};
use shared_models::ProblemBody;

use crate::{app::App, models};

/// A model, or all of a provider's.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ListedModel {
    /// As an agent names it. `openai:*` stands for every model that the provider has.
    model: String,
    provider: &'static str,
    task: &'static str,
    /// Scripted and deterministic: not a language model.
    simulated: bool,
    /// Whether agents without a model credential of their own can use it.
    available: bool,
    description: String,
}

/// The models that agents may name.
#[utoipa::path(get, path = "/v1/models", tag = "models",
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<ListedModel>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_models(
    State(app): State<App>,
    _: Caller<AgentsRead>,
) -> Json<Page<ListedModel>> {
    let available = app.models.openai_is_configured();
    let openai = |model: &str, description: &str| ListedModel {
        model: model.into(),
        provider: "openai",
        task: "chat",
        simulated: false,
        available,
        description: description.into(),
    };
    let mut items = vec![
        openai("openai:gpt-4o", "The default."),
        openai(
            "openai:*",
            "Any model of OpenAI, or of a compatible server at the credential's `base_url`.",
        ),
    ];
    items.extend(models::SIMULATED.map(|(model, description)| ListedModel {
        model: model.into(),
        provider: "sim",
        task: "chat",
        simulated: true,
        available: true,
        description: format!("Simulated, not a language model. {description}"),
    }));
    Json(Page { items, next_cursor: None })
}
