//! Budgets that all tenants together draw on. Tenants do not see them, but for what a run of theirs is short of.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use dbutil::{Page, PageQuery};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::{
    Body, Caller, Created, IfMatch, Once, Params, Path, Tagged, scope::PlatformAdmin,
};
use shared_models::{BudgetId, ProblemBody};
use utoipa::ToSchema;
use uuid::Uuid;

use super::BudgetView;
use super::delete_budget::deleted;
use super::update_budget::patched;
use crate::app::App;
use crate::budgets::{Level, Period};
use crate::definition::Budget;
use crate::error::Error;
use crate::store::budget;
use crate::store::budget_edit::{self, New};

/// A budget of the platform to set.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPlatformBudget {
    /// When it begins anew.
    period: Period,
    limits: Budget,
}

/// Set a budget of the platform. There is one for each period.
#[utoipa::path(post, path = "/v1/platform/budgets", tag = "budgets", security(("token" = ["platform:admin"])),
    request_body(content = NewPlatformBudget, example = json!({ "period": "day", "limits": { "max_cost_micro_usd": 500_000_000 } })),
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = BudgetView), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_platform_budget(
    State(app): State<App>,
    caller: Caller<PlatformAdmin>,
    mut once: Once,
    Body(new): Body<NewPlatformBudget>,
) -> Result<Response, Error> {
    let by = caller.person()?;
    let errors = new.limits.check_limits("/limits");
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let mut tx = app.db.system("a budget of the platform").await?;
    if let Some(stored) = once.begin_across(&mut tx, &caller, &new).await? {
        return Ok(stored);
    }
    let NewPlatformBudget { period, limits } = new;
    let new = New { level: Level::Platform, subject: Uuid::nil(), period, limits };
    let id = budget_edit::insert(&mut tx, None, by, &new).await?;
    let view = BudgetView::from(budget::find(&mut tx, None, id).await?);
    once.remember_across(&mut tx, &caller, StatusCode::CREATED, &view).await?;
    tx.commit().await?;
    app.budgets.forget(None);
    Ok(Created(view).into_response())
}

/// The budgets of the platform.
#[utoipa::path(get, path = "/v1/platform/budgets", tag = "budgets", params(PageQuery),
    security(("token" = ["platform:admin"])),
    responses((status = 200, body = Page<BudgetView>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_platform_budgets(
    State(app): State<App>,
    _: Caller<PlatformAdmin>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<BudgetView>>, Error> {
    let mut tx = app.db.system("budgets of the platform").await?;
    let rows = budget::list_page(&mut tx, None, (None, None), &page).await?;
    Ok(Json(rows.map(BudgetView::from)))
}

/// A budget of the platform. Its `ETag` is its version.
#[utoipa::path(get, path = "/v1/platform/budgets/{budget_id}", tag = "budgets", params(("budget_id" = BudgetId, Path)),
    security(("token" = ["platform:admin"])),
    responses((status = 200, body = BudgetView), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_platform_budget(
    State(app): State<App>,
    _: Caller<PlatformAdmin>,
    Path(budget_id): Path<BudgetId>,
) -> Result<Tagged<BudgetView>, Error> {
    let mut tx = app.db.system("a budget of the platform").await?;
    let row = budget::find(&mut tx, None, budget_id).await?;
    Ok(Tagged(row.version, row.into()))
}

/// Change the limits of a budget of the platform. A JSON Merge Patch; `null` takes a limit away.
#[utoipa::path(patch, path = "/v1/platform/budgets/{budget_id}", tag = "budgets", security(("token" = ["platform:admin"])),
    params(("budget_id" = BudgetId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({ "max_tokens": null })),
    responses((status = 200, body = BudgetView), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_platform_budget(
    State(app): State<App>,
    caller: Caller<PlatformAdmin>,
    Path(budget_id): Path<BudgetId>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<BudgetView>, Error> {
    let by = caller.person()?;
    patched(&app, (None, by), budget_id, &if_match, &patch).await
}

/// Take a budget of the platform away.
#[utoipa::path(delete, path = "/v1/platform/budgets/{budget_id}", tag = "budgets", security(("token" = ["platform:admin"])),
    params(("budget_id" = BudgetId, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_platform_budget(
    State(app): State<App>,
    caller: Caller<PlatformAdmin>,
    Path(budget_id): Path<BudgetId>,
    if_match: IfMatch,
) -> Result<StatusCode, Error> {
    caller.person()?;
    deleted(&app, None, budget_id, &if_match).await
}
