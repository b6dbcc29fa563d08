//! A journal, read: as the state of the conversation, or as the events that viewers see.

use std::collections::{BTreeMap, HashMap};

use agentcore::{Answer, Conversation, Happened, Message, Reply, ReplyFinish, Window, step};
use anyhow::Context as _;
use dbutil::TenantTx;
use shared_models::{MicroUsd, RunId, Usage, WaitReason};

use crate::error::Error;
use crate::live::RunEvent;
use crate::record::{ContentRef, Record};
use crate::snapshot::RunSnapshot;
use crate::store::{content, conversation_message, journal, run};

/// What the records of a run add up to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transcript {
    pub(crate) state: Conversation,
    /// Calls in doubt that nobody has answered for, and why.
    pub(crate) doubts: BTreeMap<String, String>,
    /// Calls whose answer comes as a signal, and what they wait for.
    pub(crate) waiting: BTreeMap<String, Waited>,
    /// Tools that were looked for and found, in that order.
    pub(crate) found: Vec<String>,
    /// The last reply that said something.
    pub(crate) output: Option<ContentRef>,
    /// A worker has had the run before.
    pub(crate) started: bool,
    /// What the replies cost; none once there is one without a price.
    pub(crate) cost: Option<MicroUsd>,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waited {
    pub(crate) reason: WaitReason,
    pub(crate) child: Option<RunId>,
}

/// Reads a run back: what it was started with, and where it stands.
pub(crate) async fn read(
    tx: &mut TenantTx,
    run: RunId,
    root: RunId,
) -> Result<(RunSnapshot, Transcript), Error> {
    let snapshot = run::snapshot(tx, run).await?.ok_or(Error::RunPruned(run))?;
    let mut snapshot: RunSnapshot =
        serde_json::from_value(snapshot).context("the run's snapshot")?;
    if let Some(recalled) = &snapshot.recalled {
        snapshot.history = conversation_message::recall(tx, recalled).await?;
    }
    let rows = journal::after(tx, run, 0, i64::MAX).await?;
    let records = rows.into_iter().map(record).collect::<anyhow::Result<Vec<_>>>()?;
    let refs: Vec<ContentRef> = records.iter().filter_map(Record::content).collect();
    let bodies = content::find(tx, root, &refs).await?;
    let message =
        |(reference, body): (ContentRef, Vec<u8>)| Ok((reference, serde_json::from_slice(&body)?));
    let said: Result<_, serde_json::Error> = bodies.into_iter().map(message).collect();
    let transcript = fold(&snapshot, &records, &said.context("the run's content")?)?;
    Ok((snapshot, transcript))
}

fn record(row: journal::Row) -> anyhow::Result<Record> {
    Record::read(&row.kind, row.data).with_context(|| format!("record {} of the journal", row.seq))
}

/// How many events are read at once.
pub(crate) const PAGE: i64 = 50;

/// The next events after a sequence, as they were shown live.
pub(crate) async fn events_after(
    tx: &mut TenantTx,
    run: RunId,
    root: RunId,
    after: i64,
) -> Result<Vec<RunEvent>, Error> {
    let rows = journal::after(tx, run, after, PAGE).await?;
    let reference = |row: &journal::Row| {
        let text = row.data.get("message")?.clone();
        serde_json::from_value::<ContentRef>(text).ok()
    };
    let refs: Vec<ContentRef> = rows.iter().filter_map(reference).collect();
    let bodies =
        if refs.is_empty() { HashMap::new() } else { content::find(tx, root, &refs).await? };
    let event = |row: journal::Row| {
        let body = reference(&row).and_then(|reference| bodies.get(&reference));
        let message = body.and_then(|body| serde_json::from_slice(body).ok());
        let path = row.path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let journal::Row { seq, at, kind, data, .. } = row;
        let mut event = RunEvent { seq, at, run_id: run, path, kind, data };
        event.resolve(message);
        event
    };
    Ok(rows.into_iter().map(event).collect())
}

/// Replays the records; the same ones always give the same state.
pub(crate) fn fold(
    snapshot: &RunSnapshot,
    records: &[Record],
    said: &HashMap<ContentRef, Message>,
) -> anyhow::Result<Transcript> {
    let mut told = Transcript {
        state: opening(snapshot),
        doubts: BTreeMap::new(),
        waiting: BTreeMap::new(),
        found: Vec::new(),
        output: None,
        started: false,
        cost: Some(MicroUsd::default()),
    };
    let mut input = Vec::new();
    for record in records {
        let message = record.content().and_then(|reference| said.get(&reference));
        if let Record::Input { .. } = record {
            if input.is_empty() {
                input.clone_from(&snapshot.history);
            }
            input.push(message.context("the input is gone")?.clone());
        } else {
            begin(&mut told.state, &mut input);
            apply(&mut told, record, message.cloned())?;
        }
    }
    begin(&mut told.state, &mut input);
    Ok(told)
}

/// The conversation before anything was said.
pub(crate) fn opening(snapshot: &RunSnapshot) -> Conversation {
    Conversation::new(&snapshot.instructions)
        .with_max_steps(snapshot.max_steps)
        .with_output_schema(snapshot.output_schema.clone())
        .with_window(Window::of_model(&snapshot.model))
}

/// The conversation begins with the first record after its input.
fn begin(state: &mut Conversation, input: &mut Vec<Message>) {
    if !input.is_empty() {
        step(state, Happened::Started { input: std::mem::take(input) });
    }
}

fn apply(told: &mut Transcript, record: &Record, message: Option<Message>) -> anyhow::Result<()> {
    let gone = "the journal refers to something that is gone";
    match record {
        Record::Started { .. } => told.started = true,
        Record::ModelReplied { message: reference, usage, finish, cost, .. } => {
            told.cost = told.cost.zip(*cost).map(|(sum, more)| sum + more);
            let reply = reply(message.context(gone)?, *usage, *finish)?;
            if !reply.content.is_empty() {
                told.output = Some(*reference);
            }
            step(&mut told.state, Happened::Replied(reply));
        }
        Record::Summarised { upto, usage, cost, .. } => {
            told.cost = told.cost.zip(*cost).map(|(sum, more)| sum + more);
            let Message::Assistant { content: text, .. } = message.context(gone)? else {
                anyhow::bail!("a summary refers to something else");
            };
            let summarised = Happened::Summarised { upto: *upto, text, usage: *usage };
            step(&mut told.state, summarised);
        }
        Record::NotSummarised { .. } => {
            step(&mut told.state, Happened::NotSummarised);
        }
        Record::ModelFailed { failure } => {
            step(&mut told.state, Happened::ModelFailed(failure.clone()));
        }
        Record::ToolAnswered { call_id, .. } => {
            let answer = answer(message.context(gone)?)?;
            told.doubts.remove(call_id);
            told.waiting.remove(call_id);
            let call_id = call_id.clone();
            step(&mut told.state, Happened::Answered { call_id, answer });
        }
        Record::ToolInDoubt { call_id, reason, .. } => {
            told.doubts.insert(call_id.clone(), reason.clone());
        }
        Record::ToolsFound { names, .. } => told.found.extend(names.iter().cloned()),
        Record::ToolWaiting { call_id, reason, child_run_id, .. } => {
            let waited = Waited { reason: *reason, child: *child_run_id };
            told.waiting.insert(call_id.clone(), waited);
        }
        Record::Stopped { reason, .. } => {
            step(&mut told.state, Happened::Cancelled { reason: reason.clone() });
        }
        Record::Created { .. }
        | Record::Input { .. }
        | Record::Resumed { .. }
        | Record::ModelCalled { .. }
        | Record::ModelRetried { .. }
        | Record::ToolIntended { .. }
        | Record::ToolRepeated { .. }
        | Record::DoubtAnswered { .. }
        | Record::Waiting { .. }
        | Record::Finished { .. } => {}
    }
    Ok(())
}

fn reply(message: Message, usage: Usage, finish: Option<ReplyFinish>) -> anyhow::Result<Reply> {
    let Message::Assistant { content, tool_calls, reasoning, replay } = message else {
        anyhow::bail!("a reply refers to something else");
    };
    let told = if tool_calls.is_empty() { ReplyFinish::Stop } else { ReplyFinish::ToolCalls };
    let finish = finish.unwrap_or(told);
    Ok(Reply { content, reasoning, tool_calls, usage, finish, replay })
}

fn answer(message: Message) -> anyhow::Result<Answer> {
    let Message::Tool { content, error, .. } = message else {
        anyhow::bail!("a tool's answer refers to something else");
    };
    Ok(Answer { content, error })
}
