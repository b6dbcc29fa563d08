//! W3C trace context (traceparent) through HTTP and events, whether or not traces are exported.

use std::{fmt, future::Future};

use http::HeaderMap;
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

/// A trace and the span within it that did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

tokio::task_local! {
    static CURRENT: TraceContext;
}

impl TraceContext {
    /// A new trace.
    #[allow(clippy::disallowed_methods, reason = "a trace id is no entity's id")]
    pub fn start() -> Self {
        // The last 16 bytes of a UUIDv7 differ enough; the first would share a prefix within a millisecond.
        Self { trace: Uuid::now_v7().into_bytes(), span: span_id(), sampled: true }
    }

    /// Reads a `traceparent` value; anything malformed starts a new trace instead.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let (trace, span) = (bytes::<16>(trace)?, bytes::<8>(span)?);
        let flags = bytes::<1>(flags)?;
        (trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace,
            span,
            sampled: flags[0] & 1 == 1,
        })
    }

    /// The same trace, a new span.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: span_id(), ..self }
    }

    /// The trace's id, 32 hex digits.
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex(&self.trace), hex(&self.span), u8::from(self.sampled))
    }
}

/// The context of the request or event that is being worked on.
pub fn current() -> Option<TraceContext> {
    let request = CURRENT.try_with(|context| *context).ok();
    request.or_else(|| TraceContext::parse(&pubsub::heard()?))
}

/// What goes out with requests and events, as the text of a header: the span we are in when spans are exported, or else
/// a child of `current`.
pub fn outgoing() -> Option<String> {
    exported().or_else(|| current().map(TraceContext::child)).map(|context| context.to_string())
}

/// Makes a new span, if it is exported, a child of what caused it.
pub fn adopt(span: &Span, cause: TraceContext) {
    let flags = if cause.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let (trace, parent) = (TraceId::from_bytes(cause.trace), SpanId::from_bytes(cause.span));
    let cause = SpanContext::new(trace, parent, flags, true, TraceState::NONE);
    // An error says that spans are not exported.
    let _ = span.set_parent(Context::new().with_remote_span_context(cause));
}

/// The same for text that came with an event or was kept with a row; what is no trace context changes nothing.
pub fn adopt_text(span: &Span, traceparent: &str) {
    if let Some(cause) = TraceContext::parse(traceparent) {
        adopt(span, cause);
    }
}

fn exported() -> Option<TraceContext> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| TraceContext {
        trace: span.trace_id().to_bytes(),
        span: span.span_id().to_bytes(),
        sampled: span.is_sampled(),
    })
}

/// Does something within a context.
pub async fn within<T>(context: TraceContext, work: impl Future<Output = T>) -> T {
    CURRENT.scope(context, work).await
}

/// The context a request came with, or a new one.
pub fn incoming(headers: &HeaderMap) -> TraceContext {
    headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .and_then(TraceContext::parse)
        .unwrap_or_else(TraceContext::start)
}

#[allow(clippy::disallowed_methods, reason = "a span id is no entity's id")]
fn span_id() -> [u8; 8] {
    let random = Uuid::now_v7().into_bytes();
    let mut id = [0; 8];
    id.copy_from_slice(&random[8..]);
    id
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != N * 2 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

    use super::*;

    #[test]
    fn an_exported_span_is_part_of_the_trace_that_caused_it_and_passes_itself_on() {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        let _guard = tracing_subscriber::registry().with(layer).set_default();
        let cause = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let span = tracing::info_span!("event");

        adopt_text(&span, cause);
        let (first, second) = span.in_scope(|| (outgoing().unwrap(), outgoing().unwrap()));

        assert_eq!(first.get(..36), cause.get(..36));
        assert_ne!(first, cause);
        assert_eq!(first, second);
    }

    #[test]
    fn a_traceparent_is_read_and_written_as_the_standard_says() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text).unwrap();
        assert_eq!(context.to_string(), text);
        assert_eq!(context.child().trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn malformed_contexts_are_not_taken() {
        for text in [
            "",
            "00",
            "00-0-0-0",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
