//! Trace context crosses the bus in the envelope. Which tracer is in use is known higher up, hence two settable hooks.

use std::sync::OnceLock;

use tracing::Span;

static SOURCE: OnceLock<fn() -> Option<String>> = OnceLock::new();
static PARENT: OnceLock<fn(&Span, &str)> = OnceLock::new();

tokio::task_local! {
    static HEARD: String;
}

/// Sets what tells the current span's W3C `traceparent`; the first call wins.
pub fn set_traceparent_source(source: fn() -> Option<String>) {
    SOURCE.set(source).ok();
}

/// Sets what makes a span the child of a `traceparent` that came with an event; the first call wins.
pub fn set_span_parent(adopt: fn(&Span, &str)) {
    PARENT.set(adopt).ok();
}

/// The `traceparent` of the event that a [`Listener`](crate::Listener) is handling right now.
pub fn heard() -> Option<String> {
    HEARD.try_with(String::clone).ok()
}

pub(crate) fn current() -> Option<String> {
    SOURCE.get().and_then(|source| source()).or_else(heard)
}

pub(crate) fn adopt(span: &Span, traceparent: Option<&str>) {
    if let (Some(adopt), Some(traceparent)) = (PARENT.get(), traceparent) {
        adopt(span, traceparent);
    }
}

/// Does something as part of the trace that an event came with: what a listener runs in, and what a batch listener puts
/// around the work for one of its events.
pub async fn within_trace<T>(traceparent: Option<&str>, work: impl Future<Output = T>) -> T {
    match traceparent {
        Some(traceparent) => HEARD.scope(traceparent.to_owned(), work).await,
        None => work.await,
    }
}
