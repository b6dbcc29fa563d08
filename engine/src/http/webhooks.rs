//! Endpoints that are told of runs, for administrators.

mod create_endpoint;
mod delete_endpoint;
mod fields;
mod get_endpoint;
mod list_deliveries;
mod resend;
mod rotate_secret;
mod update_endpoint;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(
            create_endpoint::create_webhook_endpoint,
            get_endpoint::list_webhook_endpoints
        ))
        .routes(routes!(
            get_endpoint::get_webhook_endpoint,
            update_endpoint::update_webhook_endpoint,
            delete_endpoint::delete_webhook_endpoint
        ))
        .routes(routes!(rotate_secret::rotate_webhook_secret))
        // what became of it
        .routes(routes!(list_deliveries::list_webhook_deliveries))
        .routes(routes!(list_deliveries::get_webhook_delivery))
        .routes(routes!(resend::resend_webhook_delivery))
        .routes(routes!(resend::resend_webhooks_since))
}
