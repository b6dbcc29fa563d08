//! A journal, read: as the state of the conversations, or as the events that viewers see.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentcore::swarm::{AgentPlan, Path, Plan, SwarmState, Work, step};
use agentcore::{Answer, Conversation, Happened, Message, Reply, ReplyFinish};
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde_json::Value;
use shared_models::{ApprovalId, MicroUsd, RunId, Usage, WaitReason};
use tokio::time::Instant;

use crate::call_key;
use crate::error::Error;
use crate::fork::{Decision, Unmatched};
use crate::going_on;
use crate::live::RunEvent;
use crate::probe;
use crate::record::{ContentRef, Record};
use crate::snapshot::RunSnapshot;
use crate::store::{content, conversation_message, journal, run};

/// What the records of a run add up to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transcript {
    /// What the run was started as: a tree of agents, or one alone.
    pub(crate) plan: Plan,
    pub(crate) state: SwarmState,
    /// What is known beside that, of each conversation something was written down about.
    pub(crate) members: BTreeMap<Path, Told>,
    /// A worker has had the run before.
    pub(crate) started: bool,
    /// What the replies cost; none once there is one without a price.
    pub(crate) cost: Option<MicroUsd>,
    /// What the replies took that it has of another run, and neither used nor paid for.
    pub(crate) copied: Copied,
    /// The rest that it ends in.
    pub(crate) rested: Option<going_on::Rested>,
}

/// What was used up elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Copied {
    pub(crate) usage: Usage,
    /// None once there is a reply without a price.
    pub(crate) cost: Option<MicroUsd>,
}

/// What is known of one conversation beside its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Calls in doubt that nobody has answered for, and why.
    pub(crate) doubts: BTreeMap<String, String>,
    /// Those of them that a probe is to be asked about, and how often it was.
    pub(crate) probing: BTreeMap<String, u32>,
    /// Those of them whose probe is asked again, and when.
    pub(crate) early: BTreeMap<String, DateTime<Utc>>,
    /// Calls whose answer comes as a signal, and what they wait for.
    pub(crate) waiting: BTreeMap<String, Waited>,
    /// Calls for which something happens at a moment, and how that lies to the clock of whoever has read this.
    pub(crate) naps: BTreeMap<String, Instant>,
    /// Calls that people have approved of.
    pub(crate) approved: BTreeMap<String, Approved>,
    /// Calls of a dry run that people are asked about.
    pub(crate) unmatched: BTreeSet<String>,
    /// Calls of a dry run that are made all the same.
    pub(crate) let_through: BTreeSet<String>,
    /// Tools that were looked for and found, in that order.
    pub(crate) found: Vec<String>,
    /// The last reply that said something.
    pub(crate) output: Option<ContentRef>,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waited {
    pub(crate) reason: WaitReason,
    pub(crate) child: Option<RunId>,
    pub(crate) approval: Option<ApprovalId>,
    /// The moment, when it waits for one.
    pub(crate) until: Option<DateTime<Utc>>,
}

impl Waited {
    pub(crate) fn of(reason: WaitReason) -> Self {
        Self { reason, child: None, approval: None, until: None }
    }
}

/// What people have approved of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Approved {
    /// The SHA-256 of it, in hex.
    pub(crate) binding: String,
    /// What is sent instead of what the model wrote.
    pub(crate) arguments: Option<Value>,
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
    let refs: Vec<ContentRef> = records.iter().filter_map(|(_, record)| record.content()).collect();
    let bodies = content::find(tx, root, &refs).await?;
    whole(tx, run, &refs, &bodies).await?;
    let message =
        |(reference, body): (ContentRef, Vec<u8>)| Ok((reference, serde_json::from_slice(&body)?));
    let said: Result<_, serde_json::Error> = bodies.into_iter().map(message).collect();
    let transcript = fold(&snapshot, &records, &said.context("the run's content")?)?;
    Ok((snapshot, transcript))
}

fn record(row: journal::Row) -> anyhow::Result<(Path, Record)> {
    let record = Record::read(&row.kind, row.data)
        .with_context(|| format!("record {} of the journal", row.seq))?;
    Ok((call_key::names(&row.path).into_iter().collect(), record))
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
    whole(tx, run, &refs, &bodies).await?;
    let event = |row: journal::Row| {
        let body = reference(&row).and_then(|reference| bodies.get(&reference));
        let message = body.and_then(|body| serde_json::from_slice(body).ok());
        let path = call_key::names(&row.path);
        let journal::Row { seq, at, kind, data, .. } = row;
        let mut event = RunEvent { seq, at, run_id: run, path, kind, data };
        event.resolve(message);
        event
    };
    Ok(rows.into_iter().map(event).collect())
}

/// Refuses a run that was forgotten between two statements, of which half would be shown.
async fn whole(
    tx: &mut TenantTx,
    run: RunId,
    refs: &[ContentRef],
    bodies: &HashMap<ContentRef, Vec<u8>>,
) -> Result<(), Error> {
    let whole = refs.iter().all(|reference| bodies.contains_key(reference));
    if whole || !run::is_forgotten(tx, run).await? { Ok(()) } else { Err(Error::RunPruned(run)) }
}

/// Replays the records, each at the path of its conversation; the same ones always give the same state.
pub(crate) fn fold(
    snapshot: &RunSnapshot,
    records: &[(Path, Record)],
    said: &HashMap<ContentRef, Message>,
) -> anyhow::Result<Transcript> {
    let mut told = Transcript {
        plan: plan(snapshot),
        state: SwarmState::new(),
        members: BTreeMap::new(),
        started: false,
        cost: Some(MicroUsd::default()),
        copied: Copied { usage: Usage::default(), cost: Some(MicroUsd::default()) },
        rested: going_on::rested(records),
    };
    let mut input = Vec::new();
    let mut copies = 0;
    for (path, record) in records {
        let message = record.content().and_then(|reference| said.get(&reference));
        if let Record::Input { .. } = record {
            if input.is_empty() {
                input.clone_from(&snapshot.history);
            }
            input.push(message.context("the input is gone")?.clone());
        } else {
            told.begin(&mut input);
            let lent = if copies > 0 { told.lend(record) } else { None };
            told.apply(path, lent.as_ref().unwrap_or(record), message.cloned())?;
        }
        copies = match record {
            Record::Forked { copied, .. } => *copied,
            _ => copies.saturating_sub(1),
        };
    }
    told.begin(&mut input);
    Ok(told)
}

/// What a run does: the swarm's plan, or an agent alone.
pub(crate) fn plan(snapshot: &RunSnapshot) -> Plan {
    if let Some(swarm) = &snapshot.swarm {
        return swarm.opened();
    }
    let agent = AgentPlan { opening: opening(snapshot), handoffs: Vec::new() };
    Plan {
        name: snapshot.agent_name.clone(),
        description: String::new(),
        work: Work::Agent(Box::new(agent)),
    }
}

/// The conversation before anything was said.
pub(crate) fn opening(snapshot: &RunSnapshot) -> Conversation {
    let opening = Conversation::new(&snapshot.instructions)
        .with_max_steps(snapshot.max_steps)
        .with_output_schema(snapshot.output_schema.clone())
        .with_window(snapshot.window());
    let recalled = snapshot.recalled.as_ref().and_then(|recalled| recalled.summary.as_ref());
    let forked = snapshot.fork.as_ref().and_then(|fork| fork.summary.as_ref());
    match recalled.or(forked) {
        Some(summary) => opening.with_summary(summary),
        None => opening,
    }
}

impl Transcript {
    /// What was said, as one conversation.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.state.messages(&self.plan)
    }

    /// The conversation of a run that is an agent's.
    pub(crate) fn alone(&self) -> Conversation {
        self.state.conversation(&Path::root()).cloned().unwrap_or_else(|| Conversation::new(""))
    }

    /// The conversation begins with the first record after its input.
    fn begin(&mut self, input: &mut Vec<Message>) {
        if !input.is_empty() {
            self.step(&Path::root(), Happened::Started { input: std::mem::take(input) });
        }
    }

    fn step(&mut self, path: &Path, happened: Happened) {
        step(&self.plan, &mut self.state, path, happened);
    }

    /// A reply that was given in another run, as one that took nothing here; none for any other record.
    fn lend(&mut self, record: &Record) -> Option<Record> {
        let mut lent = record.clone();
        let (Record::ModelReplied { usage, cost, .. } | Record::Summarised { usage, cost, .. }) =
            &mut lent
        else {
            return None;
        };
        let used = std::mem::take(usage);
        let paid = cost.replace(MicroUsd::default());
        self.copied.usage += used;
        self.copied.cost = self.copied.cost.zip(paid).map(|(sum, more)| sum + more);
        Some(lent)
    }

    fn cost(&mut self, cost: Option<MicroUsd>) {
        self.cost = self.cost.zip(cost).map(|(sum, more)| sum + more);
    }

    fn apply(
        &mut self,
        path: &Path,
        record: &Record,
        message: Option<Message>,
    ) -> anyhow::Result<()> {
        let gone = "the journal refers to something that is gone";
        match record {
            Record::Started { .. } => self.started = true,
            Record::ModelReplied { message: reference, usage, finish, cost, .. } => {
                self.cost(*cost);
                let reply = reply(message.context(gone)?, *usage, *finish)?;
                if !reply.content.is_empty() {
                    self.member(path).output = Some(*reference);
                }
                self.step(path, Happened::Replied(reply));
            }
            Record::Summarised { upto, usage, cost, .. } => {
                self.cost(*cost);
                let Message::Assistant { content: text, .. } = message.context(gone)? else {
                    anyhow::bail!("a summary refers to something else");
                };
                self.step(path, Happened::Summarised { upto: *upto, text, usage: *usage });
            }
            Record::NotSummarised { .. } => self.step(path, Happened::NotSummarised),
            Record::ModelFailed { failure } => {
                self.step(path, Happened::ModelFailed(failure.clone()));
            }
            Record::ToolAnswered { call_id, .. } => {
                let answer = answer(message.context(gone)?)?;
                self.member(path).answered(call_id);
                self.step(path, Happened::Answered { call_id: call_id.clone(), answer });
            }
            Record::Aborted { failure } => {
                self.step(path, Happened::Aborted(failure.clone()));
            }
            Record::Stopped { reason, .. } => {
                self.step(path, Happened::Cancelled { reason: reason.clone() });
            }
            other => self.member(path).note(other),
        }
        Ok(())
    }

    fn member(&mut self, path: &Path) -> &mut Told {
        self.members.entry(path.clone()).or_default()
    }
}

impl Told {
    /// Whether nobody is asked about the call, as far as is known.
    pub(crate) fn is_open(&self, call_id: &str) -> bool {
        !self.waiting.contains_key(call_id) && !self.doubts.contains_key(call_id)
    }

    fn answered(&mut self, call_id: &str) {
        self.doubts.remove(call_id);
        self.probing.remove(call_id);
        self.early.remove(call_id);
        self.waiting.remove(call_id);
        self.unmatched.remove(call_id);
    }

    /// Takes in what does not change the conversation itself.
    fn note(&mut self, record: &Record) {
        probe::note(&mut self.probing, record);
        probe::note_early(&mut self.early, record);
        match record {
            Record::ToolInDoubt { call_id, reason, .. } => {
                self.doubts.insert(call_id.clone(), reason.clone());
            }
            Record::ToolUnmatched { call_id, then, .. } => {
                match then {
                    Unmatched::Ask => self.unmatched.insert(call_id.clone()),
                    Unmatched::Live => self.let_through.insert(call_id.clone()),
                    Unmatched::Refuse => false,
                };
            }
            Record::UnmatchedDecided { call_id, decision, .. } => {
                self.answered(call_id);
                if *decision == Decision::Live {
                    self.let_through.insert(call_id.clone());
                }
            }
            Record::ToolsFound { names, .. } => self.found.extend(names.iter().cloned()),
            Record::ToolWaiting { call_id, reason, child_run_id, until, .. } => {
                let (child, until) = (*child_run_id, *until);
                let waited = Waited { child, until, ..Waited::of(*reason) };
                self.waiting.insert(call_id.clone(), waited);
            }
            Record::ApprovalRequested { call_id, approval_id, .. } => {
                let approval = Some(*approval_id);
                let waited = Waited { approval, ..Waited::of(WaitReason::Approval) };
                self.waiting.insert(call_id.clone(), waited);
            }
            Record::ApprovalDecided { call_id, approved, binding, arguments, .. } => {
                self.waiting.remove(call_id);
                if *approved {
                    let (binding, arguments) = (binding.clone(), arguments.clone());
                    self.approved.insert(call_id.clone(), Approved { binding, arguments });
                }
            }
            _ => {}
        }
    }
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
