//! What a run shows while it goes on.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use shared_models::run::FinishReason;
use shared_models::usage::Usage;

use crate::conversation::FailureCode;
use crate::result::RunResult;

/// One event of a run. Within one stream `seq` counts from 1 without a gap; `path` says whose event it is when agents
/// work for agents, outermost first: `["lead", "researcher"]`.
///
/// ```
/// use agentcore::{Agent, run_stream};
/// use futures::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("parrot").model("sim:echo").build()?;
/// let first = run_stream(&agent, "Hello").next().await.ok_or("nothing happens")??;
/// assert_eq!((first.seq, &first.path[..], &*first.agent_name), (1, &["parrot".to_owned()][..], "parrot"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamEvent {
    pub seq: u64,
    pub path: Arc<[String]>,
    pub agent_name: Arc<str>,
    /// The model reply it belongs to, from 1; 0 before the first.
    pub step: u32,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. A plain stream has `Text`, `ToolCall`, the `Status` that makes text void, and `Finished`; a detailed
/// one ([`RunOptions::detailed`](crate::RunOptions::detailed)) has all.
///
/// ```
/// use agentcore::{Agent, EventKind, RunOptions, run_stream_with};
/// use futures::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("parrot").model("sim:echo").build()?;
/// let mut events = run_stream_with(&agent, "Hello", RunOptions::new().detailed());
/// let mut tokens = 0;
/// while let Some(event) = events.next().await {
///     if let EventKind::Usage { usage } = event?.kind {
///         tokens += usage.total();
///     }
/// }
/// assert!(tokens > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A piece of what the model says.
    Text {
        text: String,
    },
    /// The model has asked for a tool, which is about to be called.
    ToolCall {
        tool_name: String,
        tool_call_id: String,
        arguments: String,
    },
    /// The model is about to be asked.
    Step,
    /// A tool has answered, or failed.
    ToolResult {
        tool_name: String,
        tool_call_id: String,
        content: String,
        error: bool,
    },
    /// A piece of what the model thinks.
    Reasoning {
        text: String,
    },
    /// What one model call consumed.
    Usage {
        usage: Usage,
    },
    Status(StatusChange),
    /// Another agent goes on.
    Handoff {
        from: String,
        to: String,
    },
    /// A call waits for a person's yes or no.
    Approval {
        tool_name: String,
        tool_call_id: String,
    },
    /// The run, or a run within it, has failed.
    Error {
        code: FailureCode,
        message: String,
    },
    Context(ContextChange),
    /// Always the last one, and of the outermost run.
    Finished {
        result: Box<RunResult>,
    },
}

/// How a run, or one of its steps, goes on.
///
/// ```
/// use agentcore::{EventKind, StatusChange};
///
/// let event = EventKind::Status(StatusChange::Retrying { attempt: 1, error: "busy".into() });
/// let shown = serde_json::to_value(event)?;
/// assert_eq!((&shown["type"], &shown["status"]), (&"status".into(), &"retrying".into()));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StatusChange {
    Started,
    /// The model failed for now; the text of this step so far is void.
    Retrying {
        attempt: u32,
        error: String,
    },
    /// The model failed for good and the next one is asked; the text of this step so far is void.
    FallingBack {
        model: String,
        error: String,
    },
    /// The answer does not fit the output type; the model is asked to write it again.
    Repairing {
        error: String,
    },
    Finished {
        finish_reason: FinishReason,
    },
}

/// What was done so that the conversation fits, or to what agents know in common.
///
/// ```
/// use agentcore::ContextChange;
///
/// let change = ContextChange::Offloaded { artifact_id: "art_1".into(), bytes: 70_000 };
/// assert_eq!(serde_json::to_value(change)?["action"], "offloaded");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContextChange {
    /// The first `summarised` messages are no longer sent; a summary stands for them.
    Summarised { summarised: usize, messages: usize },
    /// A long tool result was put aside.
    Offloaded { artifact_id: String, bytes: usize },
    /// These names were written to the shared context; of `conflicts` an earlier value was replaced.
    Merged { names: Vec<String>, conflicts: Vec<String> },
}

impl EventKind {
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Text { .. }
                | Self::ToolCall { .. }
                | Self::Finished { .. }
                | Self::Status(StatusChange::Retrying { .. } | StatusChange::FallingBack { .. })
        )
    }
}

/// Where events of a run go. Costs nothing when nobody looks.
///
/// ```
/// use agentcore::{EventKind, Watch};
///
/// let watch = Watch::new(true, |event| println!("{} {:?}", event.path.join("/"), event.kind));
/// watch.enter("lead").enter("researcher").emit(1, || EventKind::Step);
/// ```
#[derive(Clone)]
pub struct Watch {
    sink: Option<Arc<Sink>>,
    path: Arc<[String]>,
    name: Arc<str>,
}

struct Sink {
    /// Held while sending, so that events arrive in the order of their numbers.
    seq: Mutex<u64>,
    detailed: bool,
    send: Box<dyn Fn(StreamEvent) + Send + Sync>,
}

impl Watch {
    /// Nobody looks.
    pub fn nobody() -> Self {
        Self { sink: None, path: Arc::default(), name: Arc::from("") }
    }

    /// Each event is handed to `send`.
    pub fn new(detailed: bool, send: impl Fn(StreamEvent) + Send + Sync + 'static) -> Self {
        let sink = Sink { seq: Mutex::new(0), detailed, send: Box::new(send) };
        Self { sink: Some(Arc::new(sink)), ..Self::nobody() }
    }

    pub fn is_watched(&self) -> bool {
        self.sink.is_some()
    }

    /// For a run within this one.
    #[must_use]
    pub fn enter(&self, name: &str) -> Self {
        if self.sink.is_none() {
            return self.clone();
        }
        let path = self.path.iter().cloned().chain([name.to_owned()]).collect();
        Self { sink: self.sink.clone(), path, name: name.into() }
    }

    /// The same under another name than the path's: a member that works a second time is `researcher#2` there.
    #[must_use]
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// The event is made only when somebody looks.
    pub fn emit(&self, step: u32, kind: impl FnOnce() -> EventKind) {
        let Some(sink) = &self.sink else { return };
        let kind = kind();
        if !sink.detailed && !kind.is_plain() {
            return;
        }
        let mut seq = sink.seq.lock().unwrap_or_else(PoisonError::into_inner);
        *seq += 1;
        let (path, agent_name) = (self.path.clone(), self.name.clone());
        (sink.send)(StreamEvent { seq: *seq, path, agent_name, step, kind });
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({})", self.path.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn events_are_numbered_without_a_gap_and_say_whose_they_are() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let watch = Watch::new(false, move |event| kept.lock().unwrap().push(event));

        let lead = watch.enter("lead");
        lead.emit(1, || EventKind::Text { text: "hm".into() });
        lead.emit(1, || EventKind::Step);
        lead.enter("researcher").emit(2, || EventKind::ToolCall {
            tool_name: "look".into(),
            tool_call_id: "c".into(),
            arguments: "{}".into(),
        });

        let seen: Vec<_> =
            seen.lock().unwrap().iter().map(|event| to_value(event).unwrap()).collect();
        assert_eq!(
            seen,
            [
                json!({ "seq": 1, "path": ["lead"], "agent_name": "lead", "step": 1,
                    "type": "text", "text": "hm" }),
                json!({ "seq": 2, "path": ["lead", "researcher"], "agent_name": "researcher",
                    "step": 2, "type": "tool_call", "tool_name": "look", "tool_call_id": "c",
                    "arguments": "{}" }),
            ]
        );
    }

    #[test]
    fn a_change_says_what_it_is() {
        let retrying = StatusChange::Retrying { attempt: 1, error: "busy".into() };
        let merged = ContextChange::Merged { names: vec!["a".into()], conflicts: vec![] };

        assert_eq!(
            to_value(EventKind::Status(retrying)).unwrap(),
            json!({ "type": "status", "status": "retrying", "attempt": 1, "error": "busy" })
        );
        assert_eq!(
            to_value(EventKind::Context(merged)).unwrap(),
            json!({ "type": "context", "action": "merged", "names": ["a"], "conflicts": [] })
        );
    }

    #[test]
    fn nothing_is_made_when_nobody_looks() {
        Watch::nobody().enter("a").emit(1, || panic!("nobody looks"));
    }
}
