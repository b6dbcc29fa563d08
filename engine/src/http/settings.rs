//! What a tenant's administrators say about all of its work.

mod retention;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(retention::get_retention, retention::update_retention))
        .routes(routes!(retention::list_retention_changes))
}
