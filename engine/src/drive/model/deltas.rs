//! Words as they come, shown a few at a time.

use std::time::Duration;

use tokio::time::Instant;

use crate::drive::Cx;
use crate::live::Part;

/// Gathers words that come close upon each other; the first after a pause is shown at once.
pub(super) struct Deltas {
    pause: Duration,
    shown: Option<Instant>,
    due: Option<Instant>,
    waiting: Option<(Part, String)>,
}

impl Deltas {
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, shown: None, due: None, waiting: None }
    }

    pub(super) async fn due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    pub(super) async fn push(&mut self, cx: &Cx<'_>, part: Part, text: &str) {
        if self.waiting.as_ref().is_some_and(|(waiting, _)| *waiting != part) {
            self.show(cx).await;
        }
        let (_, waiting) = self.waiting.get_or_insert_with(|| (part, String::new()));
        waiting.push_str(text);
        if self.due.is_none() {
            let now = Instant::now();
            match self.shown.map(|shown| shown + self.pause).filter(|due| *due > now) {
                Some(due) => self.due = Some(due),
                None => self.show(cx).await,
            }
        }
    }

    pub(super) async fn show(&mut self, cx: &Cx<'_>) {
        self.due = None;
        if let Some((part, text)) = self.waiting.take() {
            self.shown = Some(Instant::now());
            cx.app.stage.say(cx.active, cx.journal.path(), part, &text).await;
        }
    }
}
