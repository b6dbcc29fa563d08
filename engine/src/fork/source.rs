//! The run that another one goes on from, read.

use std::collections::HashMap;

use agentcore::{Message, ToolCall};
use anyhow::Context as _;
use dbutil::TenantTx;
use servicekit::FieldError;

use super::edits::Point;
use crate::committer::printable_json;
use crate::error::Error;
use crate::record::{ContentRef, Record};
use crate::snapshot::RunSnapshot;
use crate::store::{content, conversation_message, journal, run};

/// What there is of the other run.
pub(super) struct Source {
    /// What it was started with, with what it was told of a conversation written out.
    pub(super) snapshot: RunSnapshot,
    /// What stood for the oldest of that.
    pub(super) summary: Option<String>,
    pub(super) records: Vec<Written>,
    replies: HashMap<ContentRef, Message>,
}

/// A longer journal is not read into memory at once.
pub(crate) const MOST_RECORDS: i64 = 20_000;

/// A record of its journal.
pub(super) struct Written {
    pub(super) seq: i64,
    pub(super) path: String,
    pub(super) record: Record,
}

/// A call that one of its models has asked for.
pub(super) struct Wanted<'a> {
    pub(super) path: &'a str,
    /// The record that asks.
    pub(super) asked: i64,
    pub(super) call: &'a ToolCall,
    /// The record that answers, and with what.
    pub(super) answered: Option<(i64, ContentRef)>,
}

impl Source {
    pub(super) async fn read(tx: &mut TenantTx, row: &run::Row) -> Result<Self, Error> {
        let pruned = || Error::RunPruned(row.run_id);
        let snapshot = run::snapshot(tx, row.run_id).await?.ok_or_else(pruned)?;
        let mut snapshot: RunSnapshot =
            serde_json::from_value(snapshot).context("the run's snapshot")?;
        if snapshot.swarm.is_some() {
            return Err(Error::RunNotForkable("it is a swarm's"));
        }
        if snapshot.waits_for_its_turn() {
            return Err(Error::RunNotForkable("it has yet to be told of its conversation"));
        }
        let mut summary = snapshot.fork.take().and_then(|fork| fork.summary);
        if let Some(recalled) = snapshot.recalled.take() {
            let history = conversation_message::recall(tx, &recalled).await?;
            // What is kept with a run takes no NUL.
            let history = serde_json::to_value(history).map_err(anyhow::Error::from)?;
            snapshot.history =
                serde_json::from_value(printable_json(history)).context("what was said before")?;
            summary = recalled.summary;
        }
        let rows = journal::after(tx, row.run_id, 0, MOST_RECORDS + 1).await?;
        if rows.len() as i64 > MOST_RECORDS {
            return Err(Error::RunTooLong(row.run_id));
        }
        let records = rows.into_iter().map(Written::read).collect::<anyhow::Result<Vec<_>>>()?;
        let replies = replies(tx, row, &records).await?;
        if records.is_empty() {
            return Err(pruned());
        }
        Ok(Self { snapshot, summary, records, replies })
    }

    /// The last record that stands.
    pub(super) fn cut(&self, from: Point) -> Result<i64, Error> {
        let last = self.records.last().map_or(0, |written| written.seq);
        let refuse = |field: &str, why: String| {
            Err(Error::Invalid(vec![FieldError::new(format!("/from/{field}"), why)]))
        };
        match from {
            Point::Seq(seq) if !(2..=last).contains(&seq) => refuse(
                "seq",
                format!("from 2, what was said to the run, to {last}, its last record"),
            ),
            Point::Seq(seq) => Ok(seq),
            Point::Step(step) => {
                let asks = |written: &&Written| matches!(written.record, Record::ModelCalled { step: n, .. } if n == step);
                match self.records.iter().find(asks) {
                    Some(written) => Ok(written.seq - 1),
                    None if step == 1 => Ok(last),
                    None => refuse("step", "its model was never asked for that step".into()),
                }
            }
        }
    }

    /// What was called, each conversation in its order.
    pub(super) fn calls(&self) -> Vec<Wanted<'_>> {
        let mut answers = HashMap::new();
        for Written { seq, path, record } in &self.records {
            if let Record::ToolAnswered { call_id, message, .. } = record {
                answers.insert((path.as_str(), call_id.as_str()), (*seq, *message));
            }
        }
        let mut calls = Vec::new();
        for Written { seq, path, record } in &self.records {
            let Record::ModelReplied { message, .. } = record else { continue };
            let Some(Message::Assistant { tool_calls, .. }) = self.replies.get(message) else {
                continue;
            };
            calls.extend(tool_calls.iter().map(|call| Wanted {
                path,
                asked: *seq,
                call,
                answered: answers.get(&(path.as_str(), call.id.as_str())).copied(),
            }));
        }
        calls
    }
}

impl Written {
    fn read(row: journal::Row) -> anyhow::Result<Self> {
        let record = Record::read(&row.kind, row.data)
            .with_context(|| format!("record {} of the journal", row.seq))?;
        Ok(Self { seq: row.seq, path: row.path, record })
    }
}

async fn replies(
    tx: &mut TenantTx,
    row: &run::Row,
    records: &[Written],
) -> Result<HashMap<ContentRef, Message>, Error> {
    let reply = |written: &Written| match written.record {
        Record::ModelReplied { message, .. } => Some(message),
        _ => None,
    };
    let refs: Vec<ContentRef> = records.iter().filter_map(reply).collect();
    let bodies = content::find(tx, row.root_run_id, &refs).await?;
    if refs.iter().any(|reference| !bodies.contains_key(reference)) {
        // It is just being forgotten.
        return Err(Error::RunPruned(row.run_id));
    }
    let read = |(reference, body): (ContentRef, Vec<u8>)| {
        Ok((reference, serde_json::from_slice(&body).context("a reply")?))
    };
    Ok(bodies.into_iter().map(read).collect::<anyhow::Result<_>>()?)
}
