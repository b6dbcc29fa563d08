//! One viewer of a run.
//!
//! The hand-off from replay to live: subscribe first, then read the journal, drop what comes again, read the journal
//! whenever a sequence is missing, and compare with it every two seconds in case nothing came at all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::Event;
use futures::{Stream, StreamExt as _, stream};
use servicekit::Caller;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::sees;
use crate::app::App;
use crate::error::Error;
use crate::live::{Delta, Live, Next, RunEvent, Seen};
use crate::store::run;
use crate::transcript;
use crate::visibility::Viewer;

const COMPARE: Duration = Duration::from_secs(2);
const FLUSH: Duration = Duration::from_secs(1);

/// What a viewer sees next.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    Record(RunEvent),
    Delta(Delta),
}

impl Shown {
    fn event(self) -> Option<Event> {
        let event = match self {
            Self::Record(event) => {
                let shown = Event::default().id(event.seq.to_string()).event(&event.kind);
                shown.json_data(event)
            }
            Self::Delta(delta) => Event::default().event("delta").json_data(delta),
        };
        event.ok()
    }
}

pub(crate) struct Watch {
    app: App,
    viewer: Viewer,
    payloads: bool,
    row: run::Row,
    tenant: shared_models::TenantId,
    /// The last record shown.
    last: i64,
    seen: Seen,
    live: async_nats::Subscriber,
    ready: VecDeque<Shown>,
    compare: Interval,
    recheck: Interval,
    /// There is more in the journal than has been read.
    behind: bool,
    over: bool,
}

impl Watch {
    pub(crate) async fn begin<S>(
        app: App,
        caller: &Caller<S>,
        row: run::Row,
        last: i64,
    ) -> anyhow::Result<Self> {
        let live = app.stage.subscribe(caller.tenant, row.run_id).await?;
        // The subscription must be in force before the journal is read. While NATS is away the journal alone is shown.
        if app.bus.is_connected() {
            let _ = timeout(FLUSH, app.bus.client().flush()).await;
        }
        let recheck = every(app.runs.recheck);
        let mut watch = Self {
            app,
            viewer: Viewer::of(caller),
            payloads: caller.payloads,
            row,
            tenant: caller.tenant,
            last,
            seen: Seen::default(),
            live,
            ready: VecDeque::new(),
            compare: every(COMPARE),
            recheck,
            behind: false,
            over: false,
        };
        // What the owner commits before it hears this is in the journal when it is read again.
        watch.app.stage.ask(watch.row.run_id).await;
        match watch.read_journal().await {
            Err(Error::RunPruned(_)) => watch.over = true,
            read => read?,
        }
        Ok(watch)
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut watch| {
            loop {
                // What cannot be written as an event is left out.
                if let Some(event) = watch.next().await?.event() {
                    return Some((Ok(event), watch));
                }
            }
        })
    }

    /// What comes next; none once the run has ended, or the viewer may see no more.
    pub(crate) async fn next(&mut self) -> Option<Shown> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            // A page at a time, so that a long journal is never in memory as a whole.
            if self.behind {
                self.catch_up().await;
                continue;
            }
            let draining = self.app.draining.clone();
            tokio::select! {
                message = self.live.next() => match message {
                    Some(message) => self.heard(&message.payload).await,
                    None => self.over = true,
                },
                _ = self.compare.tick() => {
                    // Said again for an owner that has taken the run over meanwhile.
                    self.app.stage.ask(self.row.run_id).await;
                    self.catch_up().await;
                }
                _ = self.recheck.tick() => self.check_member().await,
                // The client comes back, to another process.
                () = draining.cancelled() => self.over = true,
            }
        }
    }

    async fn heard(&mut self, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(Live::Record(event)) if event.seq == self.last + 1 => self.show(event),
            Ok(Live::Record(RunEvent { seq, .. }) | Live::Written { seq }) => {
                if seq > self.last {
                    self.catch_up().await;
                }
            }
            Ok(Live::Delta(_)) if !self.payloads => {}
            Ok(Live::Delta(delta)) => match self.seen.take(delta) {
                Next::Show(delta) => self.ready.push_back(Shown::Delta(delta)),
                Next::Skip => {}
                Next::Gap => self.app.stage.ask(self.row.run_id).await,
            },
            Err(error) => tracing::debug!(%error, "something else on a run's subject"),
        }
    }

    async fn catch_up(&mut self) {
        if let Err(error) = self.read_journal().await {
            self.over |= matches!(error, Error::RunPruned(_));
            tracing::warn!(%error, "a viewer's run cannot be read; it will be tried again");
        }
    }

    async fn read_journal(&mut self) -> Result<(), Error> {
        self.behind = false;
        let mut tx = self.app.db.begin(self.tenant).await?;
        let (run, root) = (self.row.run_id, self.row.root_run_id);
        let events = transcript::events_after(&mut tx, run, root, self.last).await?;
        self.behind = events.len() == transcript::PAGE as usize;
        // Nothing more will come of a run whose journal is gone; a reader who comes back is told why.
        self.over |= events.is_empty() && run::is_forgotten(&mut tx, run).await?;
        for event in events {
            self.show(event);
        }
        Ok(())
    }

    fn show(&mut self, mut event: RunEvent) {
        self.last = event.seq;
        self.over |= event.kind == RunEvent::LAST;
        if event.kind != "model_called" {
            self.seen.replaced(&event.path, event.seq);
        }
        if !self.payloads {
            event.redact();
        }
        self.ready.push_back(Shown::Record(event));
    }

    /// Somebody who is no longer a member, or no longer of the team, sees nothing more.
    async fn check_member(&mut self) {
        let Some(user) = self.viewer.user else { return };
        match self.app.gateway.member(self.tenant, user).await {
            Ok(Some(member)) if member.status == "active" => {
                // Never more than the token that opened the stream allowed.
                self.viewer.admin &= member.role >= shared_models::Role::Admin;
                self.viewer.teams.retain(|team| member.teams.contains(team));
                self.payloads &= member.payloads;
                self.over |= !sees(&self.viewer, &self.row);
            }
            Ok(_) => self.over = true,
            Err(error) => tracing::debug!(%error, "membership cannot be checked now"),
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
