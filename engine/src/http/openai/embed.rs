//! `POST /v1/embeddings`

use agentcore::models::{EmbedRequest, Embedder, Embeddings};
use agentcore::{Message, ModelRequest, Reply, RetryPolicy};
use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::{Body, Caller, FieldError, Problem, Subject, scope::RunsWrite};
use shared_models::{ModelTask, ProblemBody};

use super::meter::{Meter, Payer};
use super::shape;
use crate::app::App;
use crate::models;

/// What is asked. Fields that are not here are ignored.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct EmbeddingRequest {
    /// A model whose `task` is `embedding`. `sim:embed` is simulated: it knows words by their hashes, not what they mean.
    #[schema(example = "sim:embed")]
    model: String,
    /// A text, or up to 2048 of them.
    #[schema(value_type = Object)]
    input: Value,
    /// How long the vectors should be, for models that let one choose.
    #[serde(default)]
    #[schema(minimum = 1)]
    dimensions: Option<u32>,
    /// `float`, or `base64` of little-endian 32-bit floats.
    #[serde(default)]
    encoding_format: Option<String>,
}

const MOST_INPUTS: usize = 2048;

/// Make vectors of texts, as OpenAI's clients ask for them. It is paid for by the budgets of the platform, the tenant and
/// yourself: without room in one of them the answer is 429 `budget_exhausted`.
#[utoipa::path(post, path = "/v1/embeddings", tag = "openai",
    request_body(content = EmbeddingRequest, example = json!({ "model": "sim:embed", "input": ["the cat sat", "a dog ran"] })),
    security(("token" = ["runs:write"])),
    responses((status = 200, body = Object,
            example = json!({ "object": "list", "model": "sim:embed", "data": [{ "object": "embedding", "index": 0,
                "embedding": [0.6, -0.8] }], "usage": { "prompt_tokens": 3, "total_tokens": 3 } })),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn create_embeddings(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Body(asked): Body<EmbeddingRequest>,
) -> Result<Json<Value>, Problem> {
    let input = asked.check().map_err(Problem::validation)?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let bound = models::bind_for(&mut tx, ModelTask::Embedding, &asked.model, None).await?;
    drop(tx);
    app.models.check_reachable(&bound)?;
    let embedder = models::open_embedder_for_tenant(&app, caller.tenant, &bound).await?;
    let user = caller.user().or_else(|| caller.subject().map(Subject::user));
    let payer = Payer { tenant: caller.tenant, user };
    let mut said = as_said(&input);
    let mut meter = Meter::begin(&app, payer, &bound, &mut said).await?;
    let request = EmbedRequest { model: bound.model.clone(), input, dimensions: asked.dimensions };
    let Embeddings { vectors, usage } =
        embed(&*embedder, (&request, &mut said), &mut meter).await?;
    meter.end(&Reply { usage, ..Reply::default() }).await;
    let vectors = vectors.iter().enumerate().map(|(index, vector)| asked.shown(index, vector));
    let tokens = json!({ "prompt_tokens": usage.all_input(), "total_tokens": usage.total() });
    Ok(Json(json!({ "object": "list", "model": asked.model, "usage": tokens,
        "data": vectors.collect::<Vec<_>>() })))
}

/// The texts as they are estimated; nothing is said in return.
fn as_said(texts: &[String]) -> ModelRequest {
    let messages = texts.iter().map(|text| Message::user(text.as_str())).collect();
    ModelRequest { messages, max_tokens: Some(0), ..ModelRequest::default() }
}

async fn embed(
    embedder: &dyn Embedder,
    (request, said): (&EmbedRequest, &mut ModelRequest),
    meter: &mut Meter,
) -> Result<Embeddings, Problem> {
    let policy = RetryPolicy::default();
    let mut tried = 0;
    loop {
        let error = match meter.within(embedder.embed(request)).await? {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        let Some(pause) = policy.delay(tried, &error, rand::random()) else {
            meter.failed(&error).await;
            return Err(shape::refusal(&error.into()));
        };
        tried += 1;
        meter.again((&error, pause), said).await?;
    }
}

impl EmbeddingRequest {
    /// The texts.
    fn check(&self) -> Result<Vec<String>, Vec<FieldError>> {
        let mut errors = Vec::new();
        if !matches!(self.encoding_format.as_deref(), None | Some("float" | "base64")) {
            errors.push(FieldError::new("/encoding_format", "`float` or `base64`"));
        }
        if self.dimensions == Some(0) {
            errors.push(FieldError::new("/dimensions", "at least 1"));
        }
        let texts: Option<Vec<String>> = match &self.input {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(all) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let texts = texts.unwrap_or_default();
        if !(1..=MOST_INPUTS).contains(&texts.len()) || texts.iter().any(String::is_empty) {
            let why = format!("a text, or 1 to {MOST_INPUTS} of them, none empty; no tokens");
            errors.push(FieldError::new("/input", why));
        }
        if errors.is_empty() { Ok(texts) } else { Err(errors) }
    }

    fn shown(&self, index: usize, vector: &[f32]) -> Value {
        let embedding = if self.encoding_format.as_deref() == Some("base64") {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    }
}
