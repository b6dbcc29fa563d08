//! One run's journal, as its owner writes it.
//!
//! What is noted is kept back until [`Journal::commit`], so that an outcome and the intent that follows from it cost one
//! commit. Nothing may be done to the world between a note that announces it and the commit.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentcore::Message;
use chrono::{DateTime, Utc};
use pubsub::OutboxRow;
use serde::Serialize;
use serde_json::value::RawValue;
use shared_models::events::Event;
use shared_models::{MessageId, RunId};
use sqlx::types::Uuid;
use tokio::sync::oneshot;

use crate::app::App;
use crate::budgets::Drawn;
use crate::call_key;
use crate::committer::{
    Append, AppendError, Change, Committed, Committer, EffectChange, Noted, Spent,
};
use crate::crash_points::CrashPoints;
use crate::going_on;
use crate::live::Stage;
use crate::record::{ContentRef, Record};
use crate::store::queue::Claimed;

/// Cheap to clone; each clone writes at its own path.
#[derive(Clone)]
pub(crate) struct Journal {
    path: Arc<str>,
    shared: Arc<Shared>,
}

struct Shared {
    claimed: Claimed,
    crash_points: CrashPoints,
    committer: Committer,
    stage: Stage,
    noted: Mutex<Append>,
    /// What is told once the run goes on.
    kept_back: Mutex<Option<OutboxRow>>,
    /// The signals that have been taken in since we own the run.
    heard: Mutex<HashSet<i64>>,
    /// Held while a commit is under way. A commit whose caller went away is waited for by the next one.
    sending: tokio::sync::Mutex<Option<Sent>>,
}

/// An append on its way, and what viewers will be told of it.
struct Sent {
    answer: oneshot::Receiver<Committed>,
    append: Arc<Append>,
}

impl Journal {
    pub(crate) fn new(claimed: &Claimed, app: &App) -> Self {
        let Claimed { tenant, run, epoch, next_seq, .. } = *claimed;
        let (committer, stage) = (app.committer.clone(), app.stage.clone());
        let crash_points = app.runs.crash_points.clone();
        let noted = Mutex::new(Append::new(tenant, run, epoch, next_seq));
        let sending = tokio::sync::Mutex::default();
        let claimed = claimed.clone();
        let (heard, kept_back) = (Mutex::default(), Mutex::default());
        let shared =
            Shared { claimed, crash_points, committer, stage, noted, kept_back, heard, sending };
        Self { path: "".into(), shared: Arc::new(shared) }
    }

    /// The same journal, for what happens in the conversation at another path.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self { path: path.into(), shared: self.shared.clone() }
    }

    /// Whose conversation is written down; empty for the run's own.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The key of a call of this conversation.
    pub(crate) fn key(&self, call_id: &str) -> String {
        call_key::key(&self.path, call_id)
    }

    /// Gives the sequence that the record will have.
    pub(crate) fn note(&self, record: Record) -> i64 {
        let mut noted = self.noted();
        noted.records.push(Noted { path: self.path.clone(), record });
        noted.seq + noted.records.len() as i64 - 1
    }

    /// Keeps something that was said, for a record to refer to.
    pub(crate) fn keep(&self, message: &Message) -> Result<ContentRef, serde_json::Error> {
        let body = serde_json::to_vec(message)?;
        let reference = ContentRef::of(&body);
        self.noted().content.push((reference, body));
        Ok(reference)
    }

    /// The same for what is no message.
    pub(crate) fn keep_bytes(&self, body: Vec<u8>) -> ContentRef {
        let reference = ContentRef::of(&body);
        self.noted().content.push((reference, body));
        reference
    }

    pub(crate) fn set_effect(&self, change: EffectChange) {
        self.noted().set_effect(change);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Change)) {
        change(&mut self.noted().change);
    }

    /// Counts what a reply took.
    pub(crate) fn spend(&self, spent: Spent) {
        self.noted().spent.push(spent);
    }

    /// Charges a budget with what a call took.
    pub(crate) fn draw(&self, drawn: Drawn) {
        self.noted().drawn.push(drawn);
    }

    /// Signal `n` is taken in.
    pub(crate) fn drained(&self, n: i64) {
        self.noted().drained.push(n);
        self.heard().insert(n);
    }

    /// Whether that was said of it, be it durable yet or not.
    pub(crate) fn has_heard(&self, n: i64) -> bool {
        self.heard().contains(&n)
    }

    fn heard(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_timer(&self, name: &'static str, millis: i64) {
        self.noted().timer = Some((name, millis));
    }

    /// Tells the other services with the next commit.
    pub(crate) fn emit<E: Event>(&self, event: &E) -> Result<(), serde_json::Error> {
        let id = MessageId::mint().uuid();
        // The committer puts the database's time in.
        let row = OutboxRow::new(self.shared.claimed.tenant, (id, 0), DateTime::UNIX_EPOCH, event)?;
        self.noted().outbox.push(row);
        Ok(())
    }

    /// Tells the other services when the run goes on, if it does: see [`crate::going_on`].
    pub(crate) fn keep_back<E: Event>(&self, id: Uuid, event: &E) -> Result<(), serde_json::Error> {
        let row = OutboxRow::new(self.shared.claimed.tenant, (id, 0), DateTime::UNIX_EPOCH, event)?;
        *self.kept_back() = Some(row);
        Ok(())
    }

    pub(crate) fn forget_kept_back(&self) {
        self.kept_back().take();
    }

    /// The run is about to do something that only a run does which goes on.
    pub(crate) async fn goes_on(&self) -> Result<(), AppendError> {
        let Some(row) = self.kept_back().take() else { return Ok(()) };
        self.noted().outbox.push(row);
        self.commit().await
    }

    fn kept_back(&self) -> MutexGuard<'_, Option<OutboxRow>> {
        self.shared.kept_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is noted that is not committed.
    pub(crate) fn has_notes(&self) -> bool {
        !self.noted().is_empty()
    }

    /// Makes everything noted so far durable, at whatever path. Safe to give up and to call from several places at once.
    pub(crate) async fn commit(&self) -> Result<(), AppendError> {
        let shared = &*self.shared;
        shared.crash_points.before_commit(&shared.claimed).await;
        let mut sending = shared.sending.lock().await;
        self.finish(&mut sending).await?;
        if self.noted().is_empty() {
            return Ok(());
        }
        let place = shared.committer.reserve(shared.claimed.run).await?;
        let append = Arc::new(self.take());
        let answer = place.submit(append.clone());
        *sending = Some(Sent { answer, append: append.clone() });
        self.finish(&mut sending).await?;
        drop(sending);
        shared.crash_points.committed(&shared.claimed, &append).await;
        Ok(())
    }

    /// What has been noted, leaving an empty page that goes on behind it.
    fn take(&self) -> Append {
        let mut noted = self.noted();
        if going_on::is_shown_in(&noted) {
            noted.outbox.extend(self.kept_back().take());
        }
        let next = noted.seq + noted.records.len() as i64;
        let Claimed { tenant, run, epoch, .. } = self.shared.claimed;
        std::mem::replace(&mut *noted, Append::new(tenant, run, epoch, next))
    }

    /// Waits for what is on its way, if anything is, and shows it.
    async fn finish(&self, sending: &mut Option<Sent>) -> Result<(), AppendError> {
        let Some(sent) = sending.as_mut() else { return Ok(()) };
        let answer = (&mut sent.answer).await;
        let Some(Sent { append, .. }) = sending.take() else { return Ok(()) };
        let lost = || AppendError::Unavailable("the committer has ended".into());
        let at = answer.map_err(|_| lost())??;
        let Shared { claimed: Claimed { tenant, run, .. }, stage, .. } = &*self.shared;
        if !stage.is_watched(*run) {
            return Ok(());
        }
        for (seq, record) in shown(*run, at, &append) {
            stage.record(*tenant, *run, seq, record).await;
        }
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Append> {
        self.shared.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records of an append as viewers see them, each with its sequence: the same as a later reader of the journal will.
/// Nothing for one that refers to what was said earlier, which is not at hand here.
fn shown(run: RunId, at: DateTime<Utc>, append: &Append) -> Vec<(i64, Vec<u8>)> {
    let said: HashMap<ContentRef, &[u8]> =
        append.content.iter().map(|(hash, body)| (*hash, body.as_slice())).collect();
    let show = |Noted { path, record }: &Noted, seq: i64| {
        let (kind, data) = record.columns().ok()?;
        let data = match record.content() {
            None => data,
            Some(reference) => resolved(&data, reference, said.get(&reference)?)?,
        };
        let data = RawValue::from_string(data).ok()?;
        let path = path.split('/').filter(|name| !name.is_empty()).collect();
        let kind = kind.as_str();
        let event = Shown { seq, at, run_id: run, path, kind, data: &data };
        serde_json::to_vec(&ShownLive::Record(event)).ok()
    };
    let records = append.records.iter().zip(append.seq..);
    records.map(|(record, seq)| (seq, show(record, seq).unwrap_or_default())).collect()
}

/// Puts what a record refers to in the reference's place.
fn resolved(data: &str, reference: ContentRef, body: &[u8]) -> Option<String> {
    let name = format!(r#""message":"{}""#, hex::encode(reference.0));
    let (before, after) = data.split_once(&name)?;
    let body = std::str::from_utf8(body).ok()?;
    Some([before, r#""message":"#, body, after].concat())
}

/// [`crate::live::RunEvent`] without owning what it shows.
#[derive(Serialize)]
struct Shown<'a> {
    seq: i64,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    at: DateTime<Utc>,
    run_id: RunId,
    path: Vec<&'a str>,
    kind: &'a str,
    data: &'a RawValue,
}

/// [`crate::live::Live`], likewise.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ShownLive<'a> {
    Record(Shown<'a>),
}

#[cfg(test)]
mod tests {
    use shared_models::TenantId;

    use super::*;
    use crate::live::Live;

    #[test]
    fn what_viewers_are_shown_reads_as_an_event_with_what_was_said() {
        let mut append = Append::new(TenantId::mint(), RunId::mint(), 1, 7);
        let body = br#"{"role":"user","content":"say \"message\""}"#.to_vec();
        let message = ContentRef::of(&body);
        let waits = Record::Waiting { reason: shared_models::WaitReason::Doubt, needs: Vec::new() };
        append.records = vec![
            Record::Input { message }.into(),
            Record::Input { message: ContentRef::of(b"earlier") }.into(),
            Noted { path: "lead/writer".into(), record: waits },
        ];
        append.content.push((message, body.clone()));

        let shown = shown(append.run, DateTime::UNIX_EPOCH, &append);

        let Live::Record(event) = serde_json::from_slice(&shown[0].1).unwrap() else { panic!() };
        assert_eq!((event.seq, event.run_id, event.kind.as_str()), (7, append.run, "input"));
        let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event.data["message"], said);
        assert_eq!((shown[1].0, shown[1].1.len()), (8, 0), "left to the journal");
        let Live::Record(event) = serde_json::from_slice(&shown[2].1).unwrap() else { panic!() };
        assert_eq!((event.seq, event.kind.as_str()), (9, "waiting"));
        assert_eq!(event.path, ["lead", "writer"]);
    }
}
