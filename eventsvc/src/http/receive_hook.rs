//! The door for deliveries: open to the world, closed by the proof each delivery brings.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use servicekit::{Path, Problem};
use shared_models::{DeliveryId, EventId, ProblemBody, SourceId, TriggerId};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    intake::{self, Answer, Status},
};

/// A delivery that was stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// `accepted`; a repetition is answered 200 with `duplicate`.
    status: &'static str,
    /// Its id.
    delivery_id: DeliveryId,
    /// The events it fired.
    event_ids: Vec<EventId>,
    /// What came of it.
    outcome: Status,
}

/// Deliver to a hook.
///
/// `hook_id` is a trigger's id or a source's. The body is taken as it is, verified as the trigger's options say, stored,
/// and only then answered. Anybody may call this; without the right proof nothing is stored.
#[utoipa::path(post, path = "/v1/hooks/{hook_id}", tag = "hooks", security(()),
    params(("hook_id" = String, Path, description = "A trigger's or a source's id")),
    request_body(content = String, description = "JSON, a form, or text"),
    responses((status = 202, body = Accepted), (status = 200, description = "A repetition, or a handshake"),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn receive_hook(
    State(app): State<App>,
    Path(hook): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let answer = match read_id(&hook) {
        Some(id) => intake::receive(&app, id, &uri, &headers, body).await,
        None => Err(Problem::not_found("such hook")),
    };
    let outcome = match &answer {
        Ok(Answer::Accepted { outcome, .. }) => outcome.as_str(),
        Ok(Answer::Duplicate) => "duplicate",
        Ok(Answer::Challenge(_) | Answer::Echo(_)) => "challenge",
        Err(problem) => problem.code().name,
    };
    metrics::counter!("eventsvc_deliveries_total", "outcome" => outcome.to_owned()).increment(1);
    answer.map(into_response)
}

fn read_id(hook: &str) -> Option<Uuid> {
    let trigger = hook.parse::<TriggerId>().map(TriggerId::uuid);
    trigger.or_else(|_| hook.parse::<SourceId>().map(SourceId::uuid)).ok()
}

fn into_response(answer: Answer) -> Response {
    match answer {
        Answer::Accepted { delivery_id, event_ids, outcome } => {
            let body = Accepted { status: "accepted", delivery_id, event_ids, outcome };
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
        Answer::Duplicate => Json(json!({ "status": "duplicate" })).into_response(),
        Answer::Challenge(word) => Json(json!({ "challenge": word })).into_response(),
        Answer::Echo(word) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
                // Whatever the word is, no browser shall take it for a page.
                (
                    HeaderName::from_static("x-content-type-options"),
                    HeaderValue::from_static("nosniff"),
                ),
            ];
            (headers, word).into_response()
        }
    }
}
