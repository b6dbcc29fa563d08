//! Texts as vectors, over the wire.

use agentcore::ModelErrorKind;
use agentcore::models::{EmbedRequest, Embedder};
use axum::response::Response;
use serde_json::{Value, json};

use crate::provider::{Provider, status};

fn answer(body: &Value) -> Response {
    let answer = Response::builder().header("content-type", "application/json");
    answer.body(body.to_string().into()).unwrap()
}

fn two() -> EmbedRequest {
    let input = vec!["a".into(), "b".into()];
    EmbedRequest { model: "m".into(), input, dimensions: Some(2) }
}

#[tokio::test]
async fn openai_vectors_come_in_the_order_of_the_input() {
    let body = json!({ "data": [{ "index": 1, "embedding": [3.0, 4.0] }, { "index": 0, "embedding": [1.0, 2.0] }],
        "usage": { "prompt_tokens": 5, "total_tokens": 5 } });
    let provider = Provider::start([answer(&body)]).await;

    let made = provider.model().embed(&two()).await.unwrap();

    assert_eq!(made.vectors, [[1.0, 2.0], [3.0, 4.0]]);
    assert_eq!(made.usage.input_tokens, 5);
    let asked = &provider.asked()[0];
    assert_eq!(asked.path, "/v1/embeddings");
    let body =
        json!({ "model": "m", "input": ["a", "b"], "encoding_format": "float", "dimensions": 2 });
    assert_eq!(asked.body, body);
}

#[tokio::test]
async fn gemini_vectors_come_as_one_batch() {
    let body = json!({ "embeddings": [{ "values": [1.0, 2.0] }, { "values": [3.0, 4.0] }] });
    let provider = Provider::start([answer(&body)]).await;

    let made = provider.gemini().embed(&two()).await.unwrap();

    assert_eq!(made.vectors, [[1.0, 2.0], [3.0, 4.0]]);
    let asked = &provider.asked()[0];
    assert_eq!(asked.path, "/v1/models/m:batchEmbedContents");
    let one = |text: &str| json!({ "model": "models/m", "content": { "parts": [{ "text": text }] }, "outputDimensionality": 2 });
    assert_eq!(asked.body, json!({ "requests": [one("a"), one("b")] }));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_or_is_none_is_an_error() {
    let short = json!({ "data": [{ "index": 0, "embedding": [1.0] }], "embeddings": [] });
    let twice = json!({ "data": [{ "index": 0, "embedding": [1.0] }, { "index": 0, "embedding": [1.0] }],
        "embeddings": [{ "values": [1.0] }] });
    let table = || {
        [
            (answer(&short), ModelErrorKind::Malformed),
            (answer(&twice), ModelErrorKind::Malformed),
            (status(429, "busy"), ModelErrorKind::RateLimited),
        ]
    };
    for (answer, expected) in table() {
        let provider = Provider::start([answer]).await;
        assert_eq!(provider.model().embed(&two()).await.unwrap_err().kind, expected);
    }
    for (answer, expected) in table() {
        let provider = Provider::start([answer]).await;
        assert_eq!(provider.gemini().embed(&two()).await.unwrap_err().kind, expected);
    }
}
