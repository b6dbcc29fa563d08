//! Trace context crosses the bus in the envelope. Which tracer is in use is known higher up, hence two settable hooks.

use std::sync::OnceLock;

use tracing::Span;

static SOURCE: OnceLock<fn() -> Option<String>> = OnceLock::new();
static PARENT: OnceLock<fn(&Span, &str)> = OnceLock::new();

/// Sets what tells the current span's W3C `traceparent`; the first call wins.
pub fn set_traceparent_source(source: fn() -> Option<String>) {
    SOURCE.set(source).ok();
}

/// Sets what makes a span the child of a `traceparent` that came with an event; the first call wins.
pub fn set_span_parent(adopt: fn(&Span, &str)) {
    PARENT.set(adopt).ok();
}

pub(crate) fn current() -> Option<String> {
    SOURCE.get().and_then(|source| source())
}

pub(crate) fn adopt(span: &Span, traceparent: Option<&str>) {
    if let (Some(adopt), Some(traceparent)) = (PARENT.get(), traceparent) {
        adopt(span, traceparent);
    }
}
