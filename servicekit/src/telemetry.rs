//! Logs, metrics and traces of a process; installed once, before anything else starts.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::Env;

/// How a process tells what it does.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Which log lines are kept, in `tracing`'s filter syntax.
    pub filter: String,
    /// JSON lines, or text for people.
    pub json: bool,
    /// Where traces are sent (OTLP over HTTP); none by default.
    pub otlp_endpoint: Option<String>,
    /// `service.name` of traces.
    pub name: String,
}

impl TelemetryConfig {
    /// Reads `SWITCHYARD_LOG`, `SWITCHYARD_LOG_FORMAT` and `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn read(env: &mut Env, name: &str) -> Self {
        let format = env.text("SWITCHYARD_LOG_FORMAT", "json");
        if !matches!(format.as_str(), "json" | "text") {
            env.refuse("SWITCHYARD_LOG_FORMAT", format!("`{format}` is neither `json` nor `text`"));
        }
        Self {
            filter: env.text("SWITCHYARD_LOG", "info,sqlx=warn,async_nats=warn,hyper=warn"),
            json: format == "json",
            otlp_endpoint: env.optional("OTEL_EXPORTER_OTLP_ENDPOINT"),
            name: env.text("OTEL_SERVICE_NAME", name),
        }
    }
}

/// Keeps the exporters; dropping it flushes them.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Installs logging (to stderr) and, when configured, trace export. Call once per process.
pub fn install(config: &TelemetryConfig) -> anyhow::Result<Telemetry> {
    install_crypto();
    pubsub::set_traceparent_source(crate::trace::outgoing);
    pubsub::set_span_parent(crate::trace::adopt_text);
    metrics();
    let filter = EnvFilter::try_new(&config.filter)?;
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr);
    let lines = if config.json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.compact().boxed()
    };
    let traces = config
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| tracer(endpoint, &config.name))
        .transpose()?;
    let spans = traces
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("switchyard")));
    tracing_subscriber::registry().with(filter).with(spans).with(lines).try_init()?;
    Ok(Telemetry { traces })
}

fn tracer(endpoint: &str, name: &str) -> anyhow::Result<SdkTracerProvider> {
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(url).build()?;
    let resource = Resource::builder()
        .with_service_name(name.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The process's metrics: installed on first use, rendered at `/metrics`.
pub fn metrics() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let buckets = [
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
                10.0, 30.0,
            ];
            let recorder = PrometheusBuilder::new().set_buckets(&buckets).ok()?.build_recorder();
            let handle = recorder.handle();
            ::metrics::set_global_recorder(recorder).ok()?;
            Some(handle)
        })
        .as_ref()
}

/// Chooses the TLS implementation once for all clients of the process.
pub fn install_crypto() {
    // An error says that it was chosen before, by us.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
