use axum::extract::State;
use serde_json::Value;
use servicekit::{
    Body, Caller, FieldError, IfMatch, Path, Tagged, merge_patch, scope::SettingsWrite,
};
use shared_models::{BudgetId, ProblemBody, UserId};

use super::BudgetView;
use crate::app::App;
use crate::budgets::Level;
use crate::definition::Budget;
use crate::error::Error;
use crate::store::budget::{self, Owner};
use crate::store::budget_edit;

/// Change the limits of a budget, also of a run's. A JSON Merge Patch (RFC 7396); `null` takes a limit away. A run's budget gets
/// no limits that the run has not begun with: it would not heed them.
///
/// Runs that wait for it go on when there is room now, and a run's own journal says who has changed it. A lower limit holds for what is set aside from now on.
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
    let by = caller.person()?;
    patched(&app, (Some(caller.tenant), by), budget_id, &if_match, &patch).await
}

pub(super) async fn patched(
    app: &App,
    (owner, by): (Owner, UserId),
    id: BudgetId,
    if_match: &IfMatch,
    patch: &Value,
) -> Result<Tagged<BudgetView>, Error> {
    let mut tx = app.db.system("runs wait for a budget that is changed").await?;
    let (row, now) = budget_edit::find_for_update(&mut tx, owner, id).await?;
    if_match.check(row.version)?;
    let before = row.limits();
    let limits: Budget = merge_patch(&before, patch)?;
    let mut errors = limits.check_limits("");
    if row.level == Level::Run.as_str() {
        errors.extend(added(&before, &limits));
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    if limits == before {
        return Ok(Tagged(row.version, row.into()));
    }
    let mut told = None;
    if let Some(run) = owner.zip(row.run()) {
        let changed = row.changed(by, now, &limits);
        told = budget_edit::tell_run(&mut tx, run, changed).await?.then_some(run.1);
    }
    let mut rouse = budget_edit::update(&mut tx, owner, id, &limits).await?;
    let row = budget::find(&mut tx, owner, id).await?;
    tx.commit().await?;
    app.budgets.forget(owner);
    rouse.runs.extend(told);
    app.rouse(rouse).await;
    Ok(Tagged(row.version, row.into()))
}

/// Limits that a run has not begun with, which it therefore would not ask for.
fn added(before: &Budget, limits: &Budget) -> Vec<FieldError> {
    let table = [
        ("/max_cost_micro_usd", before.max_cost_micro_usd, limits.max_cost_micro_usd),
        ("/max_tokens", before.max_tokens, limits.max_tokens),
        ("/max_tool_calls", before.max_tool_calls, limits.max_tool_calls),
        ("/max_active_seconds", before.max_active_seconds, limits.max_active_seconds),
    ];
    let new = table.into_iter().filter(|(_, before, now)| before.is_none() && now.is_some());
    new.map(|(pointer, ..)| FieldError::new(pointer, "the run has no such limit")).collect()
}
