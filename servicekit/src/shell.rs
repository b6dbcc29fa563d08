//! What every service's router has around it: health, metrics, self-description, request ids, trace context, and the
//! one place that logs a request and its failure.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};
use shared_models::{ProblemBody, Service};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;
use utoipa::openapi::{
    OpenApi,
    security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

use crate::{Code, Problem, codes, lifecycle, problem::Cause, trace};

/// Request bodies are at most this large unless a route says otherwise.
pub const BODY_LIMIT: usize = 2 * 1024 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

type Check = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

/// One thing a service cannot work without, asked at `/readyz`.
#[derive(Clone)]
pub struct Probe {
    name: &'static str,
    check: Arc<Check>,
}

impl Probe {
    /// A probe that is green when the future gives `Ok`.
    pub fn new<F, Fut>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, check: Arc::new(move || Box::pin(check())) }
    }
}

/// What a router is wrapped with.
pub struct Shell {
    /// Whose router it is.
    pub service: Service,
    /// One sentence for the OpenAPI document.
    pub about: &'static str,
    /// What must answer before the service is ready.
    pub probes: Vec<Probe>,
    /// The service's own codes; the shared ones are added.
    pub codes: &'static [&'static Code],
    /// Turns `/readyz` red when the process begins to stop.
    pub draining: tokio_util::sync::CancellationToken,
}

/// Wraps a service's routes. Gives the finished router and its OpenAPI document.
pub fn shell<A: Clone + Send + Sync + 'static>(
    routes: OpenApiRouter<A>,
    app: A,
    shell: Shell,
) -> (Router, OpenApi) {
    let (router, mut openapi) = routes.split_for_parts();
    describe(&mut openapi, shell.service, shell.about);
    let document = Arc::new(serde_json::to_value(&openapi).unwrap_or_default());
    let listed = Arc::new(code_list(shell.codes));
    let service = shell.service;
    let router = router
        .with_state(app)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .merge(health(&shell))
        .route("/openapi.json", get(move || async move { Json(document.as_ref().clone()) }))
        .route("/errors", get(move || async move { Json(listed.as_ref().clone()) }));
    (observed(with_fallbacks(router), service), openapi)
}

/// Answers unknown routes and methods with problems.
pub fn with_fallbacks(router: Router) -> Router {
    router
        .fallback(|| async { Problem::new(&codes::NOT_FOUND, "there is no such route") })
        .method_not_allowed_fallback(|| async {
            Problem::new(&codes::METHOD_NOT_ALLOWED, "this route does not take this method")
        })
}

/// Gives every request its id, trace and span, logs and counts it, and turns a panic into a problem.
pub fn observed(router: Router, service: Service) -> Router {
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(move |request, next| observe(service, request, next)))
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn health(shell: &Shell) -> Router {
    let (probes, draining) = (shell.probes.clone(), shell.draining.clone());
    Router::new()
        .route("/livez", get(|| async { Json(json!({ "status": "ok" })) }))
        .route(
            "/readyz",
            get(move || {
                let (probes, draining) = (probes.clone(), draining.clone());
                async move { ready(&probes, draining.is_cancelled()).await }
            }),
        )
        .route(
            "/metrics",
            get(|| async {
                crate::telemetry::metrics().map(PrometheusHandle::render).unwrap_or_default()
            }),
        )
}

/// Asks every probe, each for at most two seconds, and names those that fail.
async fn ready(probes: &[Probe], draining: bool) -> Response {
    let mut checks = Map::new();
    let mut green = !draining;
    let answers = probes.iter().map(|probe| async {
        let answer = tokio::time::timeout(Duration::from_secs(2), (probe.check)()).await;
        (probe.name, answer.unwrap_or_else(|_| Err("no answer within 2 s".into())))
    });
    for (name, answer) in futures::future::join_all(answers).await {
        green &= answer.is_ok();
        checks.insert(name.into(), answer.err().map_or_else(|| json!("ok"), Value::from));
    }
    let word = match (green, draining) {
        (true, _) => "ready",
        (false, true) => "draining",
        (false, false) => "not ready",
    };
    let status = if green { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "status": word, "checks": checks }))).into_response()
}

/// Gives a service's OpenAPI document its title, its security scheme and the schemas of problems.
pub fn describe(openapi: &mut OpenApi, service: Service, about: &str) {
    openapi.info.title = format!("Switchyard {service}");
    openapi.info.description = Some(about.into());
    openapi.info.version = env!("CARGO_PKG_VERSION").into();
    let components = openapi.components.get_or_insert_default();
    let token = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key at the public address; a service token between services."))
        .build();
    components.add_security_scheme("token", SecurityScheme::Http(token));
    let (name, schema) = (
        <ProblemBody as utoipa::ToSchema>::name(),
        <ProblemBody as utoipa::PartialSchema>::schema(),
    );
    components.schemas.insert(name.into_owned(), schema);
    let (name, schema) = (
        <crate::FieldError as utoipa::ToSchema>::name(),
        <crate::FieldError as utoipa::PartialSchema>::schema(),
    );
    components.schemas.insert(name.into_owned(), schema);
}

/// The body of `/errors`: the shared codes and a service's own.
pub fn code_list(own: &[&Code]) -> Value {
    let items: Vec<Value> = codes::ALL
        .iter()
        .chain(own)
        .map(|code| json!({ "code": code.name, "status": code.status, "title": code.title }))
        .collect();
    json!({ "items": items })
}

#[allow(clippy::needless_pass_by_value, reason = "the signature tower-http calls")]
fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    Problem::internal(anyhow::anyhow!("panic: {}", lifecycle::said(&*panic))).into_response()
}

/// Gives the request its id, trace and span; logs it once; counts it.
async fn observe(service: Service, mut request: Request, next: Next) -> Response {
    let context = trace::incoming(request.headers());
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .filter(|value| sane_id(value))
        .cloned()
        .or_else(|| HeaderValue::from_str(&context.trace_id()).ok())
        .unwrap_or_else(|| HeaderValue::from_static("unknown"));
    request.headers_mut().insert(&REQUEST_ID, id.clone());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request", %service, %method, route, request_id = id.to_str().unwrap_or_default(),
        trace_id = context.trace_id(), "tenant.id" = tracing::field::Empty, "run.id" = tracing::field::Empty,
    );
    trace::adopt(&span, context);
    let started = Instant::now();
    let mut response = trace::within(context, next.run(request).instrument(span.clone())).await;
    let (status, seconds) = (response.status().as_u16(), started.elapsed().as_secs_f64());
    span.in_scope(|| log(&response, &route, status, seconds));
    count(service, &route, known(&method), status, seconds);
    name_in_problem(&mut response);
    response.headers_mut().insert(&REQUEST_ID, id);
    response
}

/// Answers that axum makes by itself (a body too large for a layer, say) are plain text; ours never are.
fn name_in_problem(response: &mut Response) {
    if response.status().is_client_error() && !response.headers().contains_key(header::CONTENT_TYPE)
    {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
}

fn sane_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=128).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn log(response: &Response, route: &str, status: u16, seconds: f64) {
    match response.extensions().get::<Cause>() {
        Some(cause) => {
            tracing::error!(status, seconds, cause = cause.0, "request failed: {}", cause.0);
        }
        // Not being ready is an answer, and whoever asks does so again and again.
        None if status >= 500 && route != "/readyz" => {
            tracing::warn!(status, seconds, "request answered {status}");
        }
        None => tracing::debug!(status, seconds, "request answered {status}"),
    }
}

/// Anybody may make up a method, and every new one would be counted apart for ever.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

fn count(service: Service, route: &str, method: &str, status: u16, seconds: f64) {
    let labels = [
        ("service", service.name().to_owned()),
        ("route", route.to_owned()),
        ("method", method.to_owned()),
        ("status", status.to_string()),
    ];
    metrics::counter!("http_requests_total", &labels).increment(1);
    metrics::histogram!("http_request_seconds", &labels[..3]).record(seconds);
}
