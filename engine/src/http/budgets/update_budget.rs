use axum::extract::State;
use serde_json::Value;
use servicekit::{Body, Caller, IfMatch, Path, Tagged, merge_patch, scope::SettingsWrite};
use shared_models::{BudgetId, ProblemBody};

use super::BudgetView;
use crate::app::App;
use crate::definition::Budget;
use crate::error::Error;
use crate::store::budget::{self, Owner};

/// Change the limits of a budget, also of a run's. A JSON Merge Patch (RFC 7396); `null` takes a limit away.
///
/// Runs that wait for it go on when there is room now. A lower limit holds for what is set aside from now on.
#[utoipa::path(patch, path = "/v1/budgets/{budget_id}", tag = "budgets", security(("token" = ["settings:write"])),
    params(("budget_id" = BudgetId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({ "max_cost_micro_usd": 80_000_000 })),
    responses((status = 200, body = BudgetView), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_budget(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path(budget_id): Path<BudgetId>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<BudgetView>, Error> {
    caller.person()?;
    patched(&app, Some(caller.tenant), budget_id, &if_match, &patch).await
}

pub(super) async fn patched(
    app: &App,
    owner: Owner,
    id: BudgetId,
    if_match: &IfMatch,
    patch: &Value,
) -> Result<Tagged<BudgetView>, Error> {
    let mut tx = app.db.system("runs wait for a budget that is changed").await?;
    let row = budget::find_for_update(&mut tx, owner, id).await?;
    if_match.check(row.version)?;
    let before = row.limits();
    let limits: Budget = merge_patch(&before, patch)?;
    let errors = limits.check_limits("");
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    if limits == before {
        return Ok(Tagged(row.version, row.into()));
    }
    let rouse = budget::update(&mut tx, owner, id, &limits).await?;
    let row = budget::find(&mut tx, owner, id).await?;
    tx.commit().await?;
    app.budgets.forget(owner);
    app.rouse(rouse).await;
    Ok(Tagged(row.version, row.into()))
}
