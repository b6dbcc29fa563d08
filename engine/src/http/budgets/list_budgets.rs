use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, Path, Tagged, scope::RunsRead};
use shared_models::{BudgetId, ProblemBody};

use super::BudgetView;
use crate::app::App;
use crate::budgets::Level;
use crate::error::Error;
use crate::store::budget;
use crate::visibility::Viewer;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListBudgets {
    /// Only `tenant`, `user` or `agent`.
    #[param(inline)]
    level: Option<Level>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The budgets of the tenant, newest first, with what is spent, reserved and left. Whoever does not administer it sees the tenant's,
/// their own, and those of agents that they see. Those of runs are shown with the runs.
#[utoipa::path(get, path = "/v1/budgets", tag = "budgets", params(ListBudgets),
    security(("token" = ["runs:read"])),
    responses((status = 200, body = Page<BudgetView>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_budgets(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Params(asked): Params<ListBudgets>,
) -> Result<Json<Page<BudgetView>>, Error> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let mut tx = app.db.begin(caller.tenant).await?;
    let viewer = Viewer::of(&caller);
    let (owner, filter) = (Some(caller.tenant), (Some(&viewer), asked.level));
    let rows = budget::list_page(&mut tx, owner, filter, &page).await?;
    Ok(Json(rows.map(BudgetView::from)))
}

/// A budget, with what is spent, reserved and left. Its `ETag` is its version.
#[utoipa::path(get, path = "/v1/budgets/{budget_id}", tag = "budgets", params(("budget_id" = BudgetId, Path)),
    security(("token" = ["runs:read"])),
    responses((status = 200, body = BudgetView), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_budget(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(budget_id): Path<BudgetId>,
) -> Result<Tagged<BudgetView>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let viewer = Viewer::of(&caller);
    let row = budget::find_visible(&mut tx, Some(caller.tenant), &viewer, budget_id).await?;
    Ok(Tagged(row.version, row.into()))
}
