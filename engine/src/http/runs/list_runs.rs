use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, FieldError, Params, Problem, scope::RunsRead};
use shared_models::{
    AgentId, ConversationId, EvaluationId, ProblemBody, RunMode, RunOrigin, RunStatus, SwarmId,
    TriggerId,
};

use crate::app::App;
use crate::http::run_view::RunView;
use crate::store::run::{self, Filter};
use crate::visibility::Viewer;

/// What to narrow the list to.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRuns {
    status: Option<RunStatus>,
    agent_id: Option<AgentId>,
    trigger_id: Option<TriggerId>,
    conversation_id: Option<ConversationId>,
    /// Runs of this swarm.
    swarm_id: Option<SwarmId>,
    /// Runs of this evaluation.
    evaluation_id: Option<EvaluationId>,
    /// `live` leaves out dry forks: what those have done has not happened.
    mode: Option<RunMode>,
    /// What they come of, one or several of `request`, `trigger`, `run` (they work for another run), `retry`, `fork` and
    /// `evaluation`, with commas between.
    #[param(example = "request,trigger,retry")]
    origin: Option<String>,
    /// Created at this moment or later.
    since: Option<DateTime<Utc>>,
    /// Created before this moment.
    until: Option<DateTime<Utc>>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// List the runs you may see, newest first.
#[utoipa::path(get, path = "/v1/runs", tag = "runs", security(("token" = ["runs:read"])), params(ListRuns),
    responses((status = 200, body = Page<RunView>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_runs(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Params(query): Params<ListRuns>,
) -> Result<Json<Page<RunView>>, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (after, limit) = (page.after()?, page.limit());
    let origins = query.origin.as_deref().map(origins).transpose()?;
    let filter = Filter {
        status: query.status,
        agent: query.agent_id,
        trigger: query.trigger_id,
        since: query.since,
        until: query.until,
        conversation: query.conversation_id,
        swarm: query.swarm_id,
        evaluation: query.evaluation_id,
        mode: query.mode,
        origins,
    };
    let mut tx = app.db.begin(caller.tenant).await?;
    let rows = run::list_page(&mut tx, &Viewer::of(&caller), &filter, after, limit).await?;
    let position = |row: &run::Row| Cursor { at: row.created_at, id: row.run_id.uuid() };
    Ok(Json(Page::new(rows, limit, position).map(|row| RunView::new(row, caller.payloads))))
}

fn origins(said: &str) -> Result<Vec<RunOrigin>, Problem> {
    let read: Result<Vec<RunOrigin>, _> = said.split(',').map(|word| word.trim().parse()).collect();
    read.map_err(|_| {
        let known: Vec<&str> = RunOrigin::ALL.iter().map(|origin| origin.as_str()).collect();
        let why = format!("one or several of {}, with commas between", known.join(", "));
        Problem::validation(vec![FieldError::new("/origin", why)])
    })
}
