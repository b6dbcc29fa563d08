use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, IfMatch, Path, scope::SettingsWrite};
use shared_models::{BudgetId, ProblemBody};

use crate::app::App;
use crate::error::Error;
use crate::store::budget::Owner;
use crate::store::budget_edit;

/// Take a budget away, with what was counted of it. Runs that wait for it go on.
#[utoipa::path(delete, path = "/v1/budgets/{budget_id}", tag = "budgets", security(("token" = ["settings:write"])),
    params(("budget_id" = BudgetId, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_budget(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path(budget_id): Path<BudgetId>,
    if_match: IfMatch,
) -> Result<StatusCode, Error> {
    caller.person()?;
    deleted(&app, Some(caller.tenant), budget_id, &if_match).await
}

pub(super) async fn deleted(
    app: &App,
    owner: Owner,
    id: BudgetId,
    if_match: &IfMatch,
) -> Result<StatusCode, Error> {
    let mut tx = app.db.system("runs wait for a budget that is deleted").await?;
    let (row, _) = budget_edit::find_for_update(&mut tx, owner, id).await?;
    // A run's own is begun anew by its next call: raise it instead.
    if row.run().is_some() {
        return Err(Error::BudgetNotFound(id));
    }
    if_match.check(row.version)?;
    let rouse = budget_edit::delete(&mut tx, owner, id).await?;
    tx.commit().await?;
    app.budgets.forget(owner);
    app.rouse(rouse).await;
    Ok(StatusCode::NO_CONTENT)
}
