//! OpenAI's "Create embeddings", as compatible servers have it too.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use shared_models::usage::Usage;

use super::super::embed::{EmbedRequest, Embedder, Embeddings};
use super::super::errors::malformed;
use super::super::exchange::ask;
use super::OpenAi;
use crate::model::ModelError;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: u64,
}

impl Embedder for OpenAi {
    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
    ) -> BoxFuture<'a, Result<Embeddings, ModelError>> {
        let EmbedRequest { model, input, dimensions } = request;
        let body = Body { model, input, encoding_format: "float", dimensions: *dimensions };
        let call = self.endpoint.post(&self.endpoint.url(&["embeddings"]), &body);
        async move {
            let mut answer: Answer = ask(call?).await?;
            answer.data.sort_by_key(|item| item.index);
            let fits = answer.data.iter().enumerate().all(|(place, item)| place == item.index);
            if !fits || answer.data.len() != request.input.len() {
                return Err(malformed("not one vector for each input"));
            }
            let input_tokens = answer.usage.map_or(0, |usage| usage.prompt_tokens);
            let vectors = answer.data.into_iter().map(|item| item.embedding).collect();
            Ok(Embeddings { vectors, usage: Usage { input_tokens, ..Usage::default() } })
        }
        .boxed()
    }
}
