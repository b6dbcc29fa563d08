//! One reply, as it comes.

use agentcore::{ModelError, ModelErrorKind, ModelEvent, Reply, ReplyFinish};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::Unanswered;
use super::deltas::Deltas;
use crate::drive::Cx;
use crate::drive::budget::{Grant, Refused};
use crate::live::{Part, Stage};

/// What was said before there is a whole reply.
#[derive(Default)]
pub(super) struct Heard {
    text: String,
    /// With what it thought and which tools it wants to call.
    pub(super) bytes: usize,
}

impl Heard {
    /// A reply that was ended because there is no more time for it: the model is asked to go on once there is.
    fn cut_short(&mut self, grant: &Grant) -> Reply {
        let (content, usage) = (std::mem::take(&mut self.text), grant.usage(self.bytes));
        Reply { content, usage, finish: ReplyFinish::Pause, ..Reply::default() }
    }
}

/// Hears a reply out, and shows what comes of it at once.
pub(super) async fn listen(
    cx: &Cx<'_>,
    mut events: BoxStream<'_, Result<ModelEvent, ModelError>>,
    grant: &mut Grant,
    (block, heard): (i64, &mut Heard),
) -> Result<Reply, Unanswered> {
    let started = Instant::now();
    Stage::open_block(cx.active, cx.journal.path(), block);
    let mut deltas = Deltas::new(cx.app.runs.coalesce);
    loop {
        let event = tokio::select! {
            biased;
            () = deltas.due() => {
                deltas.show(cx).await;
                continue;
            }
            event = events.next() => event,
            () = grant.time_is_over() => {
                match grant.prolong(cx).await {
                    Err(Refused::Short(_)) if !heard.text.is_empty() => {
                        deltas.show(cx).await;
                        return Ok(heard.cut_short(grant));
                    }
                    prolonged => prolonged?,
                }
                continue;
            }
        };
        match event.transpose()? {
            Some(ModelEvent::TextDelta(text)) => {
                heard.bytes += text.len();
                heard.text.push_str(&text);
                deltas.push(cx, Part::Text, &text).await;
            }
            Some(ModelEvent::ReasoningDelta(text)) => {
                heard.bytes += text.len();
                deltas.push(cx, Part::Reasoning, &text).await;
            }
            Some(ModelEvent::ToolCallDelta { arguments, .. }) => heard.bytes += arguments.len(),
            Some(ModelEvent::Done(reply)) => {
                deltas.show(cx).await;
                metrics::histogram!("engine_model_seconds").record(started.elapsed().as_secs_f64());
                return Ok(reply);
            }
            None => {
                let why = "the stream ended without a reply";
                return Err(ModelError::new(ModelErrorKind::Cut, why).into());
            }
        }
    }
}
