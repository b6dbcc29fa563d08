use axum::{extract::State, http::StatusCode};
use pubsub::parked;
use servicekit::{Caller, Path, Problem, scope::SettingsWrite};
use shared_models::{MessageId, ProblemBody};

use crate::app::App;

/// Try a parked event again. It is tried soon; if it fails once more it stays parked, with the new reason.
#[utoipa::path(post, path = "/v1/runs/parked/{consumer}/{message_id}/replay", tag = "runs",
    security(("token" = ["settings:write"])), params(("consumer" = String, Path), ("message_id" = MessageId, Path)),
    responses((status = 202), (status = "default", body = ProblemBody)))]
pub(crate) async fn replay_parked(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path((consumer, id)): Path<(String, MessageId)>,
) -> Result<StatusCode, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    if !parked::replay(&mut tx, &consumer, id).await? {
        return Err(Problem::not_found(format!("parked event {id}")));
    }
    tx.commit().await?;
    Ok(StatusCode::ACCEPTED)
}
