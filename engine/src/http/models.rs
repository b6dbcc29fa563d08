//! Models, what they cost and what was used.

mod create_model;
mod create_price;
mod delete_model;
mod delete_price;
mod list_model_settings;
mod list_models;
mod list_prices;
mod summarise_usage;
mod update_model;
mod usage_csv;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        // what may be named
        .routes(routes!(list_models::list_models))
        .routes(routes!(list_models::get_model))
        // what the tenant says about models
        .routes(routes!(
            list_model_settings::list_model_settings,
            create_model::create_model_setting
        ))
        .routes(routes!(
            list_model_settings::get_model_setting,
            update_model::update_model_setting,
            delete_model::delete_model_setting
        ))
        // money
        .routes(routes!(list_prices::list_prices, create_price::create_price))
        .routes(routes!(delete_price::delete_price))
        .routes(routes!(summarise_usage::summarise_usage))
}
