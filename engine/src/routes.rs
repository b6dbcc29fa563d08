//! The whole API.

use axum::Router;
use servicekit::{
    Probe, shell,
    shell::{Shell, describe},
};
use shared_models::Service;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::{codes, http};

const ABOUT: &str = "Agents, tools and durable runs.";

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        // agents, tools
        .merge(http::edge::routes())
        // swarms
        .merge(http::swarms::routes())
        // models, what they cost and what was used
        .merge(http::models::routes())
        // OpenAI's API over models and agents
        .merge(http::openai::routes())
        // conversations
        .merge(http::conversations::routes())
        // runs
        .merge(http::runs::routes())
        // test cases of agents, and trying them
        .merge(http::cases::routes())
        .merge(http::evaluations::routes())
        // how long things are kept
        .merge(http::settings::routes())
        // calls that people are asked about
        .merge(http::approvals::routes())
        // budgets
        .merge(http::budgets::routes())
        // answers to calls that were taken
        .merge(http::callbacks::routes())
        // endpoints that are told of runs
        .merge(http::webhooks::routes())
}

/// The API with everything around it.
pub(crate) fn router(app: App, probes: Vec<Probe>) -> Router {
    let draining = app.draining.clone();
    let around =
        Shell { service: Service::Engine, about: ABOUT, probes, codes: codes::ALL, draining };
    shell(routes(), app, around).0
}

/// The API's description.
pub fn openapi() -> OpenApi {
    let mut openapi = routes().split_for_parts().1;
    describe(&mut openapi, Service::Engine, ABOUT);
    openapi
}
