//! The public edge: from outside come API keys, inside go tokens; nothing a client sends is taken for our own word.
//!
//! A request passes, in this order: [`clean`] (its path is sane, its internal headers are gone), the routes, then for
//! everything but open routes [`admit`] (whose key, which tenant, how fast), then the service.
//!
//! Invariant: `/internal/*` is in no table here, and no spelling of it reaches a service.

mod admit;
mod clean;
mod documents;
mod home;
mod mint;
mod path;
mod proxy;
mod rate;
mod upstreams;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
    routing::{any, get},
};
use ipnet::IpNet;
use servicekit::{
    Probe, SigningKey,
    shell::{self, Shell},
};
use shared_models::Service;
use tokio_util::sync::CancellationToken;
use utoipa_swagger_ui::SwaggerUi;

use crate::{App, Config, app::Keys, codes, identity::Identity, routes};
use documents::Documents;
use mint::Mint;
use proxy::Proxy;
use rate::Rates;
use upstreams::{Door, TABLE};

/// What the edge works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Edge {
    keys: Keys,
    mint: Mint,
    rates: Arc<Rates>,
    proxy: Proxy,
    documents: Arc<Documents>,
    trusted: Arc<[IpNet]>,
}

impl Edge {
    pub(crate) fn new(config: &Config, app: &App, key: SigningKey, http: reqwest::Client) -> Self {
        Self {
            keys: app.keys.clone(),
            mint: Mint::new(key),
            rates: Arc::new(Rates::new(&config.limits)),
            proxy: Proxy::new(config.upstreams.clone(), &config.limits),
            documents: Arc::new(Documents::new(&config.upstreams, http)),
            trusted: config.trusted_proxies.clone().into(),
        }
    }

    /// Everything the public listener serves.
    pub(crate) fn router(
        self,
        app: App,
        probes: Vec<Probe>,
        draining: CancellationToken,
    ) -> Router {
        let shell = Shell {
            service: Service::Gateway,
            about: routes::ABOUT,
            probes,
            codes: codes::ALL,
            draining,
        };
        let (own, _) = routes::public().split_for_parts();
        let own = own
            .with_state(app)
            .layer(axum::extract::DefaultBodyLimit::max(shell::BODY_LIMIT))
            .layer(middleware::from_fn_with_state(self.clone(), as_own));
        let guarded = own
            .merge(self.passed_on(Door::Keyed))
            .layer(middleware::from_fn_with_state(self.clone(), admit::admit));
        let router = guarded
            .merge(self.passed_on(Door::Open))
            .merge(shell::health(&shell))
            .merge(self.pages());
        let router =
            shell::with_fallbacks(router).layer(middleware::from_fn_with_state(self, clean::clean));
        shell::observed(router, Service::Gateway)
    }

    /// Forgets counters of clients that have been quiet.
    pub(crate) fn tidy(&self) {
        self.rates.tidy();
    }

    fn passed_on(&self, door: Door) -> Router {
        let mut router = Router::new();
        for entry in TABLE.iter().filter(|entry| entry.door == door) {
            let service = entry.service;
            let pass_on = any(move |State(edge): State<Edge>, request: Request| async move {
                edge.pass_on(service, request).await
            });
            for pattern in entry.patterns() {
                router = router.route(&pattern, pass_on.clone());
            }
        }
        router.with_state(self.clone())
    }

    async fn pass_on(&self, service: Service, mut request: Request) -> Response {
        if let Some(identity) = request.extensions().get::<Arc<Identity>>() {
            let token = self.mint.token(identity, service);
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        self.proxy.forward(service, request).await
    }

    fn pages(&self) -> Router {
        let docs = SwaggerUi::new("/docs")
            .config(utoipa_swagger_ui::Config::from("/openapi.json").persist_authorization(false));
        Router::new()
            .route("/", get(home::page))
            .route(
                "/openapi.json",
                get(|State(edge): State<Edge>| async move { Json(edge.documents.openapi().await) }),
            )
            .route(
                "/errors",
                get(|State(edge): State<Edge>| async move { Json(edge.documents.errors().await) }),
            )
            .merge(docs)
            .with_state(self.clone())
    }
}

/// Our own routes take tokens like every other service's.
async fn as_own(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let token: Option<HeaderValue> = request
        .extensions()
        .get::<Arc<Identity>>()
        .map(|identity| edge.mint.token(identity, Service::Gateway));
    if let Some(token) = token {
        request.headers_mut().insert(header::AUTHORIZATION, token);
    }
    next.run(request).await
}
