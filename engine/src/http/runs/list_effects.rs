use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{Effect, EffectState, ProblemBody, RunId, UserId};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::call_key;
use crate::store::effect;

/// All calls of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EffectList {
    items: Vec<EffectView>,
}

/// One call to the outside world, and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EffectView {
    /// Whose call it is, in a tree of agents; empty for the run's own agent.
    path: Vec<String>,
    call_id: String,
    tool_name: String,
    /// What a repeat would do.
    effect: Effect,
    state: EffectState,
    /// Sent with every attempt at this call.
    idempotency_key: String,
    reason: Option<String>,
    /// Who said what became of it.
    answered_by: Option<UserId>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    intended_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    sent_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    ended_at: Option<DateTime<Utc>>,
}

/// List what a run did to the world, in the order it was intended.
#[utoipa::path(get, path = "/v1/runs/{run_id}/effects", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path)),
    responses((status = 200, body = EffectList), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_effects(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
) -> Result<Json<EffectList>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, run_id).await?;
    let rows = effect::list(&mut tx, run_id).await?;
    Ok(Json(EffectList { items: rows.into_iter().map(|row| view(row, caller.payloads)).collect() }))
}

pub(super) fn view(row: effect::Row, payloads: bool) -> EffectView {
    let (path, call_id) = call_key::split(&row.call_id);
    EffectView {
        path: call_key::names(path),
        effect: row.effect(),
        state: row.state(),
        call_id: call_id.to_owned(),
        tool_name: row.tool_name,
        idempotency_key: row.idempotency_key.to_string(),
        reason: row.reason.filter(|_| payloads),
        answered_by: row.answered_by,
        intended_at: row.intended_at,
        sent_at: row.sent_at,
        ended_at: row.ended_at,
    }
}
