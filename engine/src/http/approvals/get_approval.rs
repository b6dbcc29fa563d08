use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{ApprovalId, ProblemBody};
use utoipa::ToSchema;

use super::view::{Approval, VoteView};
use super::visible;
use crate::app::App;
use crate::store::approval;

/// An approval with everything that has been said.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct FullApproval {
    #[serde(flatten)]
    approval: Approval,
    /// Who has said what on what, and when, in order. Never changed afterwards.
    votes: Vec<VoteView>,
}

/// See what is asked about a call, and what has been said.
#[utoipa::path(get, path = "/v1/approvals/{approval_id}", tag = "approvals", security(("token" = ["runs:read"])),
    params(("approval_id" = ApprovalId, Path)),
    responses((status = 200, body = FullApproval), (status = "default", body = ProblemBody)))]
pub(super) async fn get_approval(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(id): Path<ApprovalId>,
) -> Result<Json<FullApproval>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let (row, _) = visible(&mut tx, &caller, id).await?;
    let votes = approval::votes(&mut tx, id).await?;
    let view = |vote| VoteView::new(vote, row.revision, caller.payloads);
    let votes = votes.into_iter().map(view).collect();
    Ok(Json(FullApproval { approval: Approval::new(row, &caller), votes }))
}
