//! `GET /v1/agents/{agent_id}/evaluations`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use servicekit::{Caller, Params, Path, scope::RunsRead};
use shared_models::{AgentId, ProblemBody};

use crate::app::App;
use crate::error::Error;
use crate::http::cases;
use crate::store::evaluation::{self, Evaluation};

/// The agent's evaluations, newest first.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/evaluations", tag = "evaluations",
    params(("agent_id" = AgentId, Path), PageQuery),
    security(("token" = ["runs:read"])),
    responses((status = 200, body = Page<Evaluation>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_evaluations(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(agent_id): Path<AgentId>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Evaluation>>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    cases::visible(&mut tx, &caller, agent_id).await?;
    Ok(Json(evaluation::list_page(&mut tx, agent_id, &page).await?))
}
