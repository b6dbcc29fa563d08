//! The whole API as one list.

use axum::{Router, routing::any};
use servicekit::{
    Probe, shell,
    shell::{Shell, describe},
};
use shared_models::Service;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{App, codes, http};

const ABOUT: &str =
    "Stores secrets sealed, shows them masked, and gives them to services inside grants.";

/// The finished router and its OpenAPI document. `draining` turns `/readyz` red.
pub fn router(app: App, draining: CancellationToken) -> (Router, OpenApi) {
    let probes = probes(&app);
    shell(
        routes(),
        app,
        Shell { service: Service::Credsvc, about: ABOUT, probes, codes: codes::ALL, draining },
    )
}

/// The API's description, without a database behind it.
pub fn openapi() -> OpenApi {
    let (_, mut openapi) = routes().split_for_parts();
    describe(&mut openapi, Service::Credsvc, ABOUT);
    openapi
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        // For people, through the gateway; services use the first two as well.
        .routes(routes!(
            http::create_credential::create_credential,
            http::list_credentials::list_credentials
        ))
        .routes(routes!(
            http::get_credential::get_credential,
            http::update_credential::update_credential,
            http::delete_credential::delete_credential
        ))
        .routes(routes!(http::list_audit::list_audit))
        .routes(routes!(http::test_credential::test_credential))
        .routes(routes!(http::revoke_credential::revoke_credential))
        .routes(routes!(http::restore_credential::restore_credential))
        .routes(routes!(http::list_leases::list_leases))
        .routes(routes!(http::credential_types::list_types, http::credential_types::create_type))
        .routes(routes!(
            http::credential_types::get_type,
            http::credential_types::replace_type,
            http::credential_types::delete_type
        ))
        // Connections.
        .routes(routes!(http::oauth_clients::list_clients, http::oauth_clients::create_client))
        .routes(routes!(http::oauth_clients::update_client, http::oauth_clients::delete_client))
        .routes(routes!(http::create_connect_session::create_connect_session))
        .routes(routes!(http::create_connect_session::get_connect_session))
        .routes(routes!(
            http::call::call_get,
            http::call::call_post,
            http::call::call_put,
            http::call::call_patch,
            http::call::call_delete
        ))
        .route("/v1/proxy/{credential_id}/{path}/{*rest}", any(http::call::call_deep))
        // For everybody: a link proves itself, and so does the way back from a provider.
        .routes(routes!(http::connect::open_connect_link))
        .routes(routes!(http::connect::finish_connect))
        // For services only; never proxied.
        .routes(routes!(http::create_credential::create_credential_for_person))
        .routes(routes!(http::resolve_credential::resolve_credential))
        .routes(routes!(http::get_standing::get_standing))
        .routes(routes!(http::create_grant::create_grant))
        .routes(routes!(http::delete_grants::delete_grants))
        .routes(routes!(http::delete_grant::delete_grant))
}

fn probes(app: &App) -> Vec<Probe> {
    let (db, vault) = (app.db.clone(), app.vault.clone());
    vec![
        Probe::new("database", move || {
            let db = db.clone();
            async move { db.ping().await.map_err(|error| error.to_string()) }
        }),
        Probe::new("root key", move || {
            let vault = vault.clone();
            async move { vault.check().await.map_err(|error| error.to_string()) }
        }),
    ]
}
