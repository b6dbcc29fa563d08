//! Budgets over REST.

mod create_budget;
mod delete_budget;
mod list_budgets;
mod platform_budgets;
mod raise_run_budget;
mod update_budget;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub(crate) use view::BudgetView;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_budget::create_budget, list_budgets::list_budgets))
        .routes(routes!(
            list_budgets::get_budget,
            update_budget::update_budget,
            delete_budget::delete_budget
        ))
        // the platform's, which all tenants draw on
        .routes(routes!(
            platform_budgets::create_platform_budget,
            platform_budgets::list_platform_budgets
        ))
        .routes(routes!(
            platform_budgets::get_platform_budget,
            platform_budgets::update_platform_budget,
            platform_budgets::delete_platform_budget
        ))
        // one run's own
        .routes(routes!(raise_run_budget::raise_run_budget))
}
