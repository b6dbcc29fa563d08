//! The run that another one goes on from, read.

use std::collections::{BTreeSet, HashMap};

use agentcore::swarm::{Path, Plan, Work};
use agentcore::{Message, ToolCall};
use anyhow::Context as _;
use dbutil::TenantTx;
use servicekit::FieldError;

use super::edits::Point;
use crate::call_key;
use crate::committer::printable_json;
use crate::error::Error;
use crate::record::{ContentRef, Record};
use crate::snapshot::RunSnapshot;
use crate::store::{content, conversation_message, journal, run};
use crate::transcript;

/// What there is of the other run.
pub(super) struct Source {
    /// What it was started with, with what it was told of a conversation written out.
    pub(super) snapshot: RunSnapshot,
    /// What stood for the oldest of that.
    pub(super) summary: Option<String>,
    /// What it was started as: a tree of agents, or one alone.
    plan: Plan,
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
    /// It passes work or control on to another member, and is no call of a tool.
    pub(super) is_passed_on: bool,
}

impl Source {
    pub(super) async fn read(tx: &mut TenantTx, row: &run::Row) -> Result<Self, Error> {
        let pruned = || Error::RunPruned(row.run_id);
        let snapshot = run::snapshot(tx, row.run_id).await?.ok_or_else(pruned)?;
        let mut snapshot: RunSnapshot =
            serde_json::from_value(snapshot).context("the run's snapshot")?;
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
        let plan = transcript::plan(&snapshot);
        Ok(Self { snapshot, summary, plan, records, replies })
    }

    /// The last record that stands.
    pub(super) fn cut(&self, from: &Point) -> Result<i64, Error> {
        let last = self.records.last().map_or(0, |written| written.seq);
        match from {
            Point::Seq(seq) if !(2..=last).contains(seq) => refuse(
                "seq",
                &format!("from 2, what was said to the run, to {last}, its last record"),
            ),
            Point::Seq(seq) => Ok(*seq),
            Point::Step { path: Some(path), step } => self.before_reply_at(path, *step),
            Point::Step { path: None, step } if *step > 1 && self.snapshot.swarm.is_some() => {
                refuse("path", "whose reply? Say the path of a member of the swarm")
            }
            Point::Step { path: None, step } => match self.asked(|_, of| of == *step) {
                Some(seq) => Ok(seq - 1),
                None if *step == 1 => Ok(last),
                None => refuse("step", "its model was never asked for that step"),
            },
        }
    }

    /// The last record before a member's model was asked for its n-th reply.
    fn before_reply_at(&self, path: &str, step: u32) -> Result<i64, Error> {
        if self.snapshot.swarm.is_none() {
            return refuse("path", "the run is an agent's, and has no members");
        }
        match self.asked(|at, of| at == path && of == step) {
            Some(seq) => Ok(seq - 1),
            None if self.asked(|at, _| at == path).is_some() => {
                refuse("step", "the member's model was never asked for that step")
            }
            None => refuse("path", "the model of a member at this path was never asked"),
        }
    }

    /// The first time that a model was asked so.
    fn asked(&self, so: impl Fn(&str, u32) -> bool) -> Option<i64> {
        let asks = |written: &&Written| matches!(written.record, Record::ModelCalled { step, .. } if so(&written.path, step));
        self.records.iter().find(asks).map(|written| written.seq)
    }

    /// Whether the end of a member's work, however it ended, is what a lead is told, who then goes on: the member works for
    /// it, or within a swarm that does. Any other member's failure is the end of all.
    pub(super) fn is_reported(&self, path: &str) -> bool {
        let names = call_key::names(path);
        (1..names.len()).any(|depth| {
            let above: Path = names.iter().take(depth).cloned().collect();
            let found = self.plan.find(&above);
            found.is_some_and(|(plan, _)| matches!(plan.work, Work::Agent(_)))
        })
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
        let mut given: HashMap<&str, BTreeSet<String>> = HashMap::new();
        for Written { seq, path, record } in &self.records {
            let Record::ModelReplied { message, .. } = record else { continue };
            let Some(Message::Assistant { tool_calls, .. }) = self.replies.get(message) else {
                continue;
            };
            let given = given.entry(path).or_insert_with(|| self.given_at(path));
            calls.extend(tool_calls.iter().map(|call| Wanted {
                path,
                asked: *seq,
                call,
                answered: answers.get(&(path.as_str(), call.id.as_str())).copied(),
                is_passed_on: given.contains(&call.name),
            }));
        }
        calls
    }

    /// The tools that somebody has because of their place in a swarm: others of it answer.
    fn given_at(&self, path: &str) -> BTreeSet<String> {
        let path: Path = call_key::names(path).into_iter().collect();
        self.plan.tools_at(&path).into_iter().map(|tool| tool.name).collect()
    }
}

fn refuse<T>(field: &str, why: &str) -> Result<T, Error> {
    Err(Error::Invalid(vec![FieldError::new(format!("/from/{field}"), why)]))
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
