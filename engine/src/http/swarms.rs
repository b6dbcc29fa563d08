//! Swarms, over HTTP. One file per verb on a noun.

mod complete;
mod create_swarm;
mod delete_swarm;
mod get_swarm;
mod list_swarms;
mod lookup_swarm;
mod swarm_versions;
mod update_swarm;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_swarms::list_swarms, create_swarm::create_swarm))
        .routes(routes!(
            get_swarm::get_swarm,
            update_swarm::update_swarm,
            delete_swarm::delete_swarm
        ))
        .routes(routes!(swarm_versions::list_swarm_versions))
        .routes(routes!(swarm_versions::get_swarm_version))
        .routes(routes!(swarm_versions::diff_swarm_versions))
        .routes(routes!(swarm_versions::restore_swarm_version))
        // for services
        .routes(routes!(lookup_swarm::lookup_swarm))
}
