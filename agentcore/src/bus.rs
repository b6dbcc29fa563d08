//! An application's own events, between parts that need not know each other. Unlike a hook a handler cannot stop
//! anything.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::hooks::HookError;

/// Hands events to whoever asked for them by name. Clones are the same bus.
///
/// ```
/// use agentcore::EventBus;
/// use serde_json::{Value, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let bus = EventBus::new();
/// let handler = bus.on("step_complete", async |data: Value| {
///     println!("step completed: {data}");
///     Ok(())
/// });
///
/// bus.emit("step_complete", json!({ "agent_name": "bot", "step": 1 })).await;
/// assert!(bus.off(handler));
/// # }
/// ```
#[derive(Clone, Default)]
pub struct EventBus {
    handlers: Arc<Mutex<Handlers>>,
}

#[derive(Default)]
struct Handlers {
    by_event: HashMap<String, Vec<(HandlerId, Arc<Handler>)>>,
    last: u64,
}

/// Names a handler of a bus, to take it off again.
///
/// ```
/// use agentcore::EventBus;
///
/// let bus = EventBus::new();
/// let handler = bus.on("done", |_| async { Ok(()) });
/// assert!(bus.off(handler));
/// assert!(!bus.off(handler), "it is gone already");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandlerId(u64);

type Handler = dyn Fn(Value) -> BoxFuture<'static, Result<(), HookError>> + Send + Sync;

impl EventBus {
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `handler` for each event of that name from now on.
    pub fn on<F, Fut>(&self, event: impl Into<String>, handler: F) -> HandlerId
    where
        F: Fn(Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HookError>> + Send + 'static,
    {
        let mut handlers = self.handlers();
        handlers.last += 1;
        let id = HandlerId(handlers.last);
        let handler: Arc<Handler> = Arc::new(move |data| handler(data).boxed());
        handlers.by_event.entry(event.into()).or_default().push((id, handler));
        id
    }

    /// Whether there was such a handler; it is called no more.
    pub fn off(&self, handler: HandlerId) -> bool {
        let mut found = false;
        self.handlers().by_event.retain(|_, handlers| {
            handlers.retain(|(id, _)| {
                found |= *id == handler;
                *id != handler
            });
            !handlers.is_empty()
        });
        found
    }

    /// Calls the handlers in order of registration and waits for each. One that fails is logged, and the rest go on.
    pub async fn emit(&self, event: &str, data: Value) {
        let handlers = self.handlers().by_event.get(event).cloned().unwrap_or_default();
        for (_, handler) in handlers {
            let call = AssertUnwindSafe(async { handler(data.clone()).await }).catch_unwind();
            match call.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(event, %error, "a handler failed"),
                Err(_panic) => tracing::warn!(event, "a handler crashed"),
            }
        }
    }

    fn handlers(&self) -> MutexGuard<'_, Handlers> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers().by_event.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_handler_does_not_stop_the_rest() {
        let (bus, seen) = (EventBus::new(), Arc::new(Mutex::new(Vec::new())));
        let note = |name: &'static str| {
            let seen = seen.clone();
            move |data: Value| {
                seen.lock().unwrap().push(format!("{name} {data}"));
                async { Ok(()) }
            }
        };
        bus.on("e", note("first"));
        bus.on("e", async |_| Err("on purpose".into()));
        bus.on("e", async |_| panic!("on purpose"));
        bus.on("e", note("last"));
        bus.on("other", note("never"));

        bus.emit("e", 1.into()).await;
        bus.emit("nobody listens", 2.into()).await;

        assert_eq!(*seen.lock().unwrap(), ["first 1", "last 1"]);
    }

    #[tokio::test]
    async fn a_handler_taken_off_is_called_no_more() {
        let (bus, seen) = (EventBus::new(), Arc::new(Mutex::new(0)));
        let count = seen.clone();
        let handler = bus.on("e", move |_| {
            *count.lock().unwrap() += 1;
            async { Ok(()) }
        });

        bus.emit("e", Value::Null).await;
        assert!(bus.off(handler));
        assert!(!bus.off(handler));
        bus.emit("e", Value::Null).await;

        assert_eq!(*seen.lock().unwrap(), 1);
    }
}
