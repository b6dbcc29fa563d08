//! `GET /v1/agents/{agent_id}/describe`

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::{Value, json};
use servicekit::{Caller, Path, scope::AgentsRead};
use shared_models::{AgentId, Effect, ProblemBody};

use crate::{app::App, error::Error, snapshot, store, template, visibility::Viewer};

/// An agent as a run would start with it now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[allow(clippy::struct_field_names, reason = "fields are named as on the wire")]
pub(crate) struct Description {
    agent_id: AgentId,
    version: i32,
    name: String,
    description: String,
    model: String,
    fallback_model: Option<String>,
    /// What the model is told first: the persona in force, then the instructions.
    instructions: String,
    /// What they need to be told when a run starts, and whether it may be left out.
    variables: BTreeMap<String, bool>,
    temperature: f32,
    max_tokens: Option<u32>,
    max_steps: u32,
    /// What the answer must fit.
    #[schema(value_type = Option<Object>)]
    output_schema: Option<Value>,
    tools: Vec<DescribedTool>,
}

/// A tool as the model sees it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct DescribedTool {
    name: String,
    description: String,
    effect: Effect,
    /// In the form that `chat/completions` takes.
    #[schema(value_type = Object)]
    schema: Value,
}

/// What an agent is, with its tools as the model sees them.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/describe", tag = "agents",
    params(("agent_id" = AgentId, Path)),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Description), (status = "default", body = ProblemBody)))]
pub(crate) async fn describe_agent(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(agent_id): Path<AgentId>,
) -> Result<Json<Description>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let agent = store::agent::find_visible(&mut tx, &Viewer::of(&caller), agent_id).await?;
    let snapshot = snapshot::build(&mut tx, agent_id, None).await?;
    let snapshot = snapshot.ok_or(Error::AgentNotFound(agent_id))?;
    let tools = snapshot.tools.into_iter().map(|tool| DescribedTool {
        schema: json!({ "type": "function", "function": {
            "name": tool.name, "description": tool.description, "parameters": tool.parameters } }),
        name: tool.name,
        description: tool.description,
        effect: tool.effect,
    });
    Ok(Json(Description {
        agent_id,
        version: snapshot.agent_version,
        name: snapshot.agent_name,
        description: agent.fields.description,
        model: snapshot.model,
        fallback_model: snapshot.fallback_model,
        variables: template::variables(&snapshot.instructions),
        instructions: snapshot.instructions,
        temperature: snapshot.temperature,
        max_tokens: snapshot.max_tokens,
        max_steps: snapshot.max_steps,
        output_schema: snapshot.output_schema,
        tools: tools.collect(),
    }))
}
