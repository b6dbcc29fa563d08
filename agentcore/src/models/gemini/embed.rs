//! Gemini's "Embeddings": `batchEmbedContents`.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use shared_models::usage::Usage;

use super::super::embed::{EmbedRequest, Embedder, Embeddings};
use super::super::errors::malformed;
use super::super::exchange::ask;
use super::Gemini;
use super::content::Part;
use crate::model::ModelError;

#[derive(Serialize)]
struct Body<'a> {
    requests: Vec<One<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    model: String,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Deserialize)]
struct Answer {
    embeddings: Vec<Values>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

impl Embedder for Gemini {
    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
    ) -> BoxFuture<'a, Result<Embeddings, ModelError>> {
        let model = request.model.strip_prefix("models/").unwrap_or(&request.model);
        let one = |text: &'a String| One {
            model: format!("models/{model}"),
            content: Content { parts: [Part::text(text)] },
            output_dimensionality: request.dimensions,
        };
        let body = Body { requests: request.input.iter().map(one).collect() };
        let call = self.endpoint.post(&self.url(model, "batchEmbedContents"), &body);
        async move {
            let answer: Answer = ask(call?).await?;
            if answer.embeddings.len() != request.input.len() {
                return Err(malformed("not one vector for each input"));
            }
            let vectors = answer.embeddings.into_iter().map(|one| one.values).collect();
            Ok(Embeddings { vectors, usage: Usage::default() })
        }
        .boxed()
    }
}
