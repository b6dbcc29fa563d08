//! `POST /v1/chat/completions`

use axum::{extract::State, response::Response};
use servicekit::{Body, Caller, Once, Problem, scope::RunsWrite};
use shared_models::ProblemBody;

use super::{ask::ChatRequest, chat_agent, chat_model, meter::Payer};
use crate::app::App;

/// Ask a model or an agent, as OpenAI's clients do.
///
/// A model is called once: its tool calls come back to you, and hanging up ends the call. An agent (`agent:<name or id>`)
/// makes a durable run: the header `X-Run-Id` names it, it calls its own tools, and it goes on when you hang up unless you
/// say `"on_disconnect": "cancel"`. What the agent says between its tool calls is part of the answer, with empty lines
/// between, unless its answer is JSON: then that alone. An agent's own temperature and limits hold. Errors also carry
/// OpenAI's `error` object.
///
/// A model is paid for by the budgets of the platform, the tenant and yourself: without room in one of them the answer is 429
/// `budget_exhausted`, and what it may say is limited to what there is room for.
///
/// With an `Idempotency-Key` the same request is answered by the same run, or by what the model said the first time, for 24
/// hours; a model's answer then comes in one piece.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai",
    request_body(content = ChatRequest, example = json!({ "model": "sim:echo",
        "messages": [{ "role": "user", "content": "Hello" }] })),
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["runs:write"])),
    responses((status = 200, body = Object, description = "A `chat.completion`, or `chat.completion.chunk` events.",
            example = json!({ "id": "chatcmpl-1", "object": "chat.completion", "created": 1_750_000_000, "model": "sim:echo",
                "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Hello" }, "finish_reason": "stop" }],
                "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 } })),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn create_chat_completion(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    once: Once,
    Body(asked): Body<ChatRequest>,
) -> Result<Response, Problem> {
    let person = caller.person()?;
    asked.check().map_err(Problem::validation)?;
    let messages = asked.messages().map_err(Problem::validation)?;
    match asked.agent() {
        Some(agent) => {
            chat_agent::answer(app, (&caller, person), once, (&asked, agent), messages).await
        }
        None if once.is_asked() => chat_model::kept(app, &caller, once, &asked, messages).await,
        None => {
            let payer = Payer { tenant: caller.tenant, user: Some(person) };
            chat_model::answer(app, payer, &asked, messages).await
        }
    }
}
