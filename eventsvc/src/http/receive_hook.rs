//! The door for deliveries: open to the world, closed by the proof each delivery brings.

use std::net::SocketAddr;

use axum::{
    Json,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use servicekit::{Path, Problem};
use shared_models::{DeliveryId, EventId, ProblemBody, RunId, SourceId, TriggerId};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    intake::{self, Answer, Arrived, Response as Ended, Status, System},
};

/// Where Google pushes to for every mailbox.
const GMAIL: &str = "gmail";

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

/// Several deliveries that came in one request and were stored, each by itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AcceptedBatch {
    /// `accepted`.
    status: &'static str,
    /// Those that were new.
    delivery_ids: Vec<DeliveryId>,
    /// How many were here before.
    duplicates: usize,
    /// The events they fired.
    event_ids: Vec<EventId>,
}

/// What a run came to whose sender waited for it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Answered {
    /// How the run ended: `succeeded`, `failed`, `cancelled`, `timed_out`; or `refused`, when there was none.
    status: String,
    /// The delivery.
    delivery_id: DeliveryId,
    /// The event it fired.
    event_id: EventId,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
    /// What it said; JSON when its agent answers by a schema.
    #[schema(value_type = Option<Object>)]
    output: Option<Value>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a hook says when it has stored something.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Taken {
    /// Of one delivery.
    One(Accepted),
    /// Of several.
    Several(AcceptedBatch),
}

/// Deliver to a hook.
///
/// `hook_id` is a trigger's id or a source's. The body is taken as it is, verified as the trigger's options say, stored,
/// and only then answered; where the trigger responds with the result, when the run has ended or its time is up. Anybody may call this; without the right proof nothing is stored.
#[utoipa::path(post, path = "/v1/hooks/{hook_id}", tag = "hooks", security(()),
    params(("hook_id" = String, Path, description = "A trigger's or a source's id; `gmail` for Google's pushes about any mailbox; `hubspot`, `slack`, `github` or `stripe` for what the platform's app there is told of any account")),
    request_body(content = String, description = "JSON, a form, or text"),
    responses((status = 202, body = Taken), (status = 200, body = Answered, description = "What the run came to, where the trigger answers with it; or a repetition, or a handshake"),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn receive_hook(
    State(app): State<App>,
    Path(hook): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let arrived = Arrived { method: parts.method, uri: parts.uri, headers: parts.headers, peer };
    let answer = match app.guard.pace(peer, &arrived.headers) {
        Ok(()) => take(&app, &hook, &arrived, body).await,
        Err(refused) => Err(refused),
    };
    let outcome = match &answer {
        Ok(Answer::Accepted { outcome, .. }) => outcome.as_str(),
        Ok(Answer::Batch { .. }) => "batch",
        Ok(Answer::Ended { .. }) => "answered",
        Ok(Answer::Noted) => "noted",
        Ok(Answer::Duplicate) => "duplicate",
        Ok(Answer::Challenge(_) | Answer::Echo(_) | Answer::Pong) => "challenge",
        Err(problem) => problem.code().name,
    };
    metrics::counter!("eventsvc_deliveries_total", "outcome" => outcome.to_owned()).increment(1);
    answer.map(into_response)
}

async fn take(app: &App, hook: &str, arrived: &Arrived, body: Body) -> Result<Answer, Problem> {
    match read_id(hook) {
        Some(id) => intake::receive(app, id, arrived, body).await,
        None if hook == GMAIL => intake::receive_push(app, arrived, body).await,
        None => match hook.parse::<System>() {
            Ok(system) => intake::receive_app(app, system, arrived, body).await,
            Err(_) => Err(Problem::not_found("such hook")),
        },
    }
}

fn read_id(hook: &str) -> Option<Uuid> {
    let trigger = hook.parse::<TriggerId>().map(TriggerId::uuid);
    trigger.or_else(|_| hook.parse::<SourceId>().map(SourceId::uuid)).ok()
}

fn into_response(answer: Answer) -> Response {
    match answer {
        Answer::Accepted { delivery_id, event_ids, outcome } => {
            let body = Accepted { status: "accepted", delivery_id, event_ids, outcome };
            (StatusCode::ACCEPTED, Json(Taken::One(body))).into_response()
        }
        Answer::Batch { accepted, duplicates, event_ids } => {
            let body =
                AcceptedBatch { status: "accepted", delivery_ids: accepted, duplicates, event_ids };
            (StatusCode::ACCEPTED, Json(Taken::Several(body))).into_response()
        }
        Answer::Ended { delivery_id, event_id, response } => {
            let Ended { run_id, status, output, error } = response;
            Json(Answered { status, delivery_id, event_id, run_id, output, error }).into_response()
        }
        Answer::Noted => Json(json!({ "status": "noted" })).into_response(),
        Answer::Pong => Json(json!({ "status": "pong" })).into_response(),
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
