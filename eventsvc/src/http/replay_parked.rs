//! Another try for a parked event.

use axum::{extract::State, http::StatusCode};
use pubsub::parked;
use servicekit::{Caller, Path, Problem, scope};
use shared_models::{MessageId, ProblemBody};

use crate::app::App;

/// Replay a parked event.
///
/// The consumer that gave up tries it again soon; if it fails once more it stays parked, with the new reason.
#[utoipa::path(post, path = "/v1/events/parked/{consumer}/{message_id}/replay", tag = "events",
    security(("token" = ["settings:write"])), params(("consumer" = String, Path), ("message_id" = MessageId, Path)),
    responses((status = 202), (status = "default", body = ProblemBody)))]
pub(crate) async fn replay_parked(
    State(app): State<App>,
    caller: Caller<scope::SettingsWrite>,
    Path((consumer, id)): Path<(String, MessageId)>,
) -> Result<StatusCode, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    if !parked::replay(&mut tx, &consumer, id).await? {
        return Err(Problem::not_found(format!("parked event {id}")));
    }
    tx.commit().await?;
    Ok(StatusCode::ACCEPTED)
}
