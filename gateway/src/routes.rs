//! The whole API of the service itself as one list. What is passed on to other services is in `edge/upstreams.rs`.

use servicekit::shell;
use shared_models::Service;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{App, http};

pub(crate) const ABOUT: &str = "Who belongs where, and the one public address of all services.";

/// The service's OpenAPI document; its routes for services are in it, those of other services are not.
pub fn openapi() -> OpenApi {
    let (_, mut document) = public().merge(internal()).split_for_parts();
    shell::describe(&mut document, Service::Gateway, ABOUT);
    document
}

/// For people.
pub(crate) fn public() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(http::get_me::get_me))
        .routes(routes!(http::get_tenant::get_tenant, http::update_tenant::update_tenant))
        // Members and teams.
        .routes(routes!(http::list_members::list_members, http::add_member::add_member))
        .routes(routes!(
            http::get_member::get_member,
            http::update_member::update_member,
            http::remove_member::remove_member
        ))
        .routes(routes!(http::list_teams::list_teams, http::create_team::create_team))
        .routes(routes!(http::get_team::get_team, http::update_team::update_team))
        .routes(routes!(
            http::list_team_members::list_team_members,
            http::add_team_member::add_team_member
        ))
        .routes(routes!(http::remove_team_member::remove_team_member))
        // Keys.
        .routes(routes!(http::list_api_keys::list_api_keys, http::create_api_key::create_api_key))
        .routes(routes!(http::revoke_api_key::revoke_api_key))
        // What happened.
        .routes(routes!(http::list_audit::list_audit))
        // For platform administrators.
        .routes(routes!(http::list_tenants::list_tenants, http::create_tenant::create_tenant))
}

/// For services, on the internal listener only.
pub(crate) fn internal() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(http::list_keys::list_keys))
        .routes(routes!(http::find_member::find_member))
}
