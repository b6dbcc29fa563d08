//! One run's journal, as its owner writes it.
//!
//! What is noted is kept back until [`Journal::commit`], so that an outcome and the intent that follows from it cost one
//! commit. Nothing may be done to the world between a note that announces it and the commit.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agentcore::Message;
use chrono::{DateTime, Utc};
use pubsub::OutboxRow;
use serde_json::Value;
use shared_models::events::Event;
use shared_models::{MessageId, RunId, TenantId};
use tokio::sync::oneshot;

use crate::committer::{Append, AppendError, Change, Committed, Committer, EffectChange};
use crate::live::{Live, RunEvent, Stage};
use crate::record::{ContentRef, Record};
use crate::store::queue::Claimed;

pub(crate) struct Journal {
    tenant: TenantId,
    run: RunId,
    epoch: i32,
    committer: Committer,
    stage: Stage,
    noted: Mutex<Append>,
    /// Held while a commit is under way. A commit whose caller went away is waited for by the next one.
    sending: tokio::sync::Mutex<Option<Sent>>,
}

/// An append on its way, and what viewers will be told of it.
struct Sent {
    answer: oneshot::Receiver<Committed>,
    append: Append,
}

impl Journal {
    pub(crate) fn new(claimed: &Claimed, committer: Committer, stage: Stage) -> Self {
        let Claimed { tenant, run, epoch, next_seq, .. } = *claimed;
        let noted = Mutex::new(Append::new(tenant, run, epoch, next_seq));
        Self { tenant, run, epoch, committer, stage, noted, sending: tokio::sync::Mutex::default() }
    }

    pub(crate) fn note(&self, record: Record) {
        self.noted().records.push(record);
    }

    /// Keeps something that was said, for a record to refer to.
    pub(crate) fn keep(&self, message: &Message) -> Result<ContentRef, serde_json::Error> {
        let body = serde_json::to_vec(message)?;
        let reference = ContentRef::of(&body);
        self.noted().content.push((reference, body));
        Ok(reference)
    }

    pub(crate) fn set_effect(&self, change: EffectChange) {
        self.noted().set_effect(change);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Change)) {
        change(&mut self.noted().change);
    }

    /// Signals up to `n` are taken in.
    pub(crate) fn drained(&self, n: i64) {
        self.noted().drained = Some(n);
    }

    pub(crate) fn set_timer(&self, name: &'static str, millis: i64) {
        self.noted().timer = Some((name, millis));
    }

    /// Tells the other services with the next commit.
    pub(crate) fn emit<E: Event>(&self, event: &E) -> Result<(), serde_json::Error> {
        let id = MessageId::mint().uuid();
        // The committer puts the database's time in.
        let row = OutboxRow::new(self.tenant, (id, 0), DateTime::UNIX_EPOCH, event)?;
        self.noted().outbox.push(row);
        Ok(())
    }

    /// Whether anything is kept back.
    pub(crate) fn has_notes(&self) -> bool {
        !self.noted().is_empty()
    }

    /// Makes everything noted so far durable; gives the sequence of the last record. Safe to give up and to call from
    /// several places at once.
    pub(crate) async fn commit(&self) -> Result<i64, AppendError> {
        let mut sending = self.sending.lock().await;
        self.finish(&mut sending).await?;
        if self.noted().is_empty() {
            return Ok(self.noted().seq - 1);
        }
        let place = self.committer.reserve(self.run).await?;
        let append = self.take();
        let last = append.seq + append.records.len() as i64 - 1;
        let answer = place.submit(append.clone());
        *sending = Some(Sent { answer, append });
        self.finish(&mut sending).await?;
        Ok(last)
    }

    /// What has been noted, leaving an empty page that goes on behind it.
    fn take(&self) -> Append {
        let mut noted = self.noted();
        let next = noted.seq + noted.records.len() as i64;
        std::mem::replace(&mut *noted, Append::new(self.tenant, self.run, self.epoch, next))
    }

    /// Waits for what is on its way, if anything is, and shows it.
    async fn finish(&self, sending: &mut Option<Sent>) -> Result<(), AppendError> {
        let Some(sent) = sending.as_mut() else { return Ok(()) };
        let answer = (&mut sent.answer).await;
        let Some(Sent { append, .. }) = sending.take() else { return Ok(()) };
        let lost = || AppendError::Unavailable("the committer has ended".into());
        let at = answer.map_err(|_| lost())??;
        for live in shown(self.run, at, &append) {
            self.stage.record(self.tenant, self.run, &live).await;
        }
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Append> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records of an append as viewers see them: the same as a later reader of the journal will.
fn shown(run: RunId, at: DateTime<Utc>, append: &Append) -> Vec<Live> {
    let said: HashMap<ContentRef, &[u8]> =
        append.content.iter().map(|(hash, body)| (*hash, body.as_slice())).collect();
    let show = |(record, seq): (&Record, i64)| {
        let message = match record.content() {
            None => None,
            // What was said earlier is not at hand here.
            Some(reference) => Some(serde_json::from_slice(said.get(&reference)?).ok()?),
        };
        let (kind, data) = record.columns().ok()?;
        let data: Value = serde_json::from_str(&data).ok()?;
        let mut event = RunEvent { seq, at, run_id: run, path: Vec::new(), kind, data };
        event.resolve(message);
        Some(Live::Record(event))
    };
    let records = append.records.iter().zip(append.seq..);
    records.map(|(record, seq)| show((record, seq)).unwrap_or(Live::Written { seq })).collect()
}
