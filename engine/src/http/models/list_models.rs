//! `GET /v1/models`, as OpenAI's clients know it.

use axum::{Json, extract::State};
use dbutil::{PageQuery, TenantTx};
use serde::{Deserialize, Serialize};
use servicekit::{Caller, Params, Path, scope::AgentsRead};
use shared_models::{AgentStatus, ModelApi, ModelKind, ModelTask, ProblemBody};

use crate::{
    app::App,
    error::Error,
    models::{Models, SIMULATED, SIMULATED_EMBEDDINGS},
    store::{
        self,
        agent::{Agent, Filter},
        model::ModelSetting,
    },
    visibility::Viewer,
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListModels {
    /// Also those that cannot be used now: not enabled, or without a key.
    #[serde(default)]
    all: bool,
}

/// Models and agents by the names that take them, in the form of OpenAI's API.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ModelList {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<ListedModel>,
}

/// A model, all models of a provider, or an agent.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ListedModel {
    /// What `model` is in `chat/completions` and in agents: `openai:gpt-4o`, `agent:triage`. `openai:*` stands for every
    /// model that the provider has.
    id: String,
    #[schema(example = "model")]
    object: &'static str,
    /// When it was added, in seconds since 1970; 0 for what was always there.
    created: i64,
    owned_by: String,
    task: ModelTask,
    kind: ModelKind,
    /// Scripted and deterministic: not a language model.
    simulated: bool,
    /// Whether it can be used without a credential of one's own.
    available: bool,
    context_window: Option<i32>,
    description: String,
}

/// The models and agents that `chat/completions` takes, and the models that `embeddings` takes (`task`).
#[utoipa::path(get, path = "/v1/models", tag = "models", params(ListModels),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = ModelList), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_models(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Params(asked): Params<ListModels>,
) -> Result<Json<ModelList>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let mut data = listed(&mut tx, &app.models, &Viewer::of(&caller)).await?;
    data.retain(|model| asked.all || model.available);
    Ok(Json(ModelList { object: "list", data }))
}

/// One of them.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "models",
    params(("model" = String, Path, example = "sim:echo")),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = ListedModel), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_model(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(name): Path<String>,
) -> Result<Json<ListedModel>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let data = listed(&mut tx, &app.models, &Viewer::of(&caller)).await?;
    let found = data.into_iter().find(|model| model.id == name);
    found.map(Json).ok_or_else(|| Error::ModelNameNotFound(name))
}

async fn listed(
    tx: &mut TenantTx,
    models: &Models,
    viewer: &Viewer,
) -> Result<Vec<ListedModel>, Error> {
    let own = own(tx).await?;
    let mut data: Vec<ListedModel> = defaults(models).collect();
    data.retain(|model| own.iter().all(|setting| setting.fields.name != model.id));
    // What is said of all of a provider holds for those of its models that nothing is said about.
    for model in &mut data {
        let all = format!("{}:*", model.owned_by);
        if let Some(setting) = own.iter().find(|setting| setting.fields.name == all) {
            model.available = usable(models, setting);
        }
    }
    data.extend(own.iter().map(|setting| entry(models, setting)));
    data.sort_by(|a, b| a.id.cmp(&b.id));
    data.extend(agents(tx, viewer).await?);
    Ok(data)
}

async fn own(tx: &mut TenantTx) -> Result<Vec<ModelSetting>, Error> {
    let mut own = Vec::new();
    let mut page = PageQuery { limit: Some(100), cursor: None };
    loop {
        let next = store::model::list_page(tx, &page).await?;
        own.extend(next.items);
        page.cursor = next.next_cursor;
        if page.cursor.is_none() {
            return Ok(own);
        }
    }
}

/// What there is before anybody says anything.
fn defaults(models: &Models) -> impl Iterator<Item = ListedModel> + '_ {
    let provider = |id: &str, api: ModelApi, description: &str| ListedModel {
        available: models.is_configured(api),
        description: description.into(),
        ..named(id, api.as_str(), ModelTask::Chat)
    };
    let providers = [
        provider(
            "openai:gpt-4o",
            ModelApi::OpenAi,
            "What agents run on unless they say otherwise.",
        ),
        provider(
            "openai:*",
            ModelApi::OpenAi,
            "Any model of OpenAI, or of a server that talks like it.",
        ),
        provider("anthropic:*", ModelApi::Anthropic, "Any model of Anthropic."),
        provider("gemini:*", ModelApi::Gemini, "Any Gemini model."),
    ];
    let chat = SIMULATED.iter().map(|said| (said, ModelTask::Chat));
    let embedding = SIMULATED_EMBEDDINGS.iter().map(|said| (said, ModelTask::Embedding));
    let simulated = chat.chain(embedding).map(|((id, description), task)| ListedModel {
        simulated: true,
        available: true,
        description: format!("Simulated, not a language model. {description}"),
        ..named(id, "sim", task)
    });
    providers.into_iter().chain(simulated)
}

fn named(id: &str, owned_by: &str, task: ModelTask) -> ListedModel {
    ListedModel {
        id: id.to_owned(),
        object: "model",
        created: 0,
        owned_by: owned_by.to_owned(),
        task,
        kind: ModelKind::Hosted,
        simulated: false,
        available: false,
        context_window: None,
        description: String::new(),
    }
}

fn entry(models: &Models, setting: &ModelSetting) -> ListedModel {
    let fields = &setting.fields;
    let provider = fields.name.split_once(':').map_or("", |(provider, _)| provider);
    ListedModel {
        created: setting.created_at.timestamp(),
        kind: fields.kind,
        simulated: fields.api() == ModelApi::Sim,
        available: usable(models, setting),
        context_window: fields.context_window,
        description: fields.description.clone(),
        ..named(&fields.name, provider, fields.task)
    }
}

fn usable(models: &Models, ModelSetting { fields, .. }: &ModelSetting) -> bool {
    let reachable = fields.credential_id.is_some() || fields.base_url.is_some();
    fields.enabled && (reachable || models.is_configured(fields.api()))
}

/// The newest of the agents that the viewer may run.
async fn agents(tx: &mut TenantTx, viewer: &Viewer) -> Result<Vec<ListedModel>, Error> {
    let filter = Filter { status: Some(AgentStatus::Active), ..Filter::default() };
    let page = PageQuery { limit: Some(100), cursor: None };
    let page = store::agent::list_page(tx, viewer, &filter, &page).await?;
    let listed = |agent: Agent| ListedModel {
        created: agent.created_at.timestamp(),
        kind: ModelKind::Internal,
        available: true,
        description: agent.fields.description,
        ..named(&format!("agent:{}", agent.fields.name), "agent", ModelTask::Chat)
    };
    Ok(page.items.into_iter().map(listed).collect())
}
