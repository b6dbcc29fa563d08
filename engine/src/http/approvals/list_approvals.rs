use axum::{Json, extract::State};
use dbutil::{Cursor, Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, Problem, scope::RunsRead};
use shared_models::{AgentId, ProblemBody, RunId};

use super::view::{Approval, ApprovalStatus};
use crate::app::App;
use crate::approvals;
use crate::store::approval::{self, Filter, Row};
use crate::visibility::Viewer;

/// What to narrow the list to.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListApprovals {
    #[param(inline)]
    status: Option<ApprovalStatus>,
    run_id: Option<RunId>,
    agent_id: Option<AgentId>,
    tool_name: Option<String>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// The inbox: calls that people are or were asked about, newest first, of runs that you may see or whose rules name you.
#[utoipa::path(get, path = "/v1/approvals", tag = "approvals", security(("token" = ["runs:read"])), params(ListApprovals),
    responses((status = 200, body = Page<Approval>), (status = "default", body = ProblemBody)))]
pub(super) async fn list_approvals(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Params(query): Params<ListApprovals>,
) -> Result<Json<Page<Approval>>, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (after, limit) = (page.after()?, page.limit());
    let filter = Filter {
        status: query.status.map(ApprovalStatus::as_str),
        run: query.run_id,
        agent: query.agent_id,
        // No tool has a NUL in its name, and Postgres takes none.
        tool: query.tool_name.map(|name| name.replace('\0', "\u{fffd}")),
    };
    let viewer = (&Viewer::of(&caller), caller.role.map(approvals::rank));
    let mut tx = app.db.begin(caller.tenant).await?;
    let rows = approval::list_page(&mut tx, viewer, &filter, after, limit).await?;
    let position = |row: &Row| Cursor { at: row.created_at, id: row.approval_id.uuid() };
    Ok(Json(Page::new(rows, limit, position).map(|row| Approval::new(row, &caller))))
}
