//! Budgets as a run is driven: asked before each call, charged after it. A call for which there is no room is not begun, and a
//! run that has nothing else to do waits until there is.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use agentcore::{Message, ModelRequest, ToolCall};
use shared_models::{RunId, ToolKind};
use tokio::time::Instant;

use super::{Cx, Run};
use crate::budgets::{
    Asker, Changed, Drawn, Key, LEAST_TIME, ModelCall, Quantity, Request, RunCap, Says, Short,
    Till, Want, slice,
};
pub(super) use crate::budgets::{Grant, Refused, broke_off};
use crate::committer::AppendError;
use crate::definition::Budget;
use crate::error::Error;
use crate::models::Bound;
use crate::record::Record;
use crate::snapshot::{RunSnapshot, SnapshotTool};
use crate::store::signal::{self, Signal};

/// The budgets of runs that a conversation draws on: its own run's, and those of the runs that it works for.
#[derive(Clone)]
pub(super) struct Meter(Arc<[RunCap]>);

impl Meter {
    pub(super) fn new(run: RunId, snapshot: &RunSnapshot) -> Self {
        Self(snapshot.above.clone().into()).with(run, "", &snapshot.budget)
    }

    /// The same with the budget of a member's agent.
    pub(super) fn with(&self, run: RunId, path: &str, budget: &Budget) -> Self {
        if budget.is_empty() {
            return self.clone();
        }
        let own = RunCap { run, path: path.to_owned(), budget: budget.clone() };
        Self(self.0.iter().cloned().chain([own]).collect())
    }

    /// For a run that works for this conversation.
    pub(super) fn caps(&self) -> Vec<RunCap> {
        self.0.to_vec()
    }
}

/// Sets aside what a model may take, and has it say no more than that. It is asked next: a run that has waited goes on.
pub(super) async fn for_model(
    cx: &Cx<'_>,
    bound: &Bound,
    request: &mut ModelRequest,
) -> Result<Grant, Refused> {
    let grant = set_aside(cx, bound, request).await?;
    cx.journal.goes_on().await.map_err(Error::from)?;
    Ok(grant)
}

async fn set_aside(
    cx: &Cx<'_>,
    bound: &Bound,
    request: &mut ModelRequest,
) -> Result<Grant, Refused> {
    let lines = lines(cx).await?;
    if lines.is_empty() {
        return Ok(Grant::default());
    }
    // A form has to be filled in one go.
    let says = if request.output.is_some() { Says::AllAtOnce } else { Says::InParts };
    let book = (&*cx.app.prices, &cx.app.db, cx.claimed.tenant);
    let call = ModelCall::estimate(&lines, (bound, request), says, book).await?;
    let (output, grant) = ask(cx, &lines, &call.request).await?;
    Ok(call.grant(output, grant, request))
}

/// What a call of a tool may take; none when the run has to wait for it.
pub(super) async fn for_call(
    cx: &Cx<'_>,
    run: &mut Run,
    (call, tool): (&ToolCall, &SnapshotTool),
    again: bool,
) -> Result<Option<Grant>, Error> {
    match for_tool(cx, tool, again).await {
        Ok(grant) => Ok(Some(grant)),
        Err(Refused::Short(short)) => {
            run.short.insert(call.id.clone(), short);
            Ok(None)
        }
        Err(Refused::Unpriced(why)) => Err(anyhow::anyhow!(why).into()),
        Err(Refused::Failed(error)) => Err(error),
    }
}

/// Sets aside what a call of a tool may take. One that was begun before is not counted again.
pub(super) async fn for_tool(
    cx: &Cx<'_>,
    tool: &SnapshotTool,
    again: bool,
) -> Result<Grant, Refused> {
    let lines = lines(cx).await?;
    if lines.is_empty() {
        return Ok(Grant::default());
    }
    // Whoever works for the run uses up time of its own.
    let longest = if tool.kind == ToolKind::Agent { 1_000 } else { i64::from(tool.timeout_ms) };
    let slack = (longest - LEAST_TIME.as_millis() as i64).max(0);
    let mut wants = vec![Want { quantity: Quantity::ActiveMs, base: longest, rate: 0, slack }];
    if !again {
        wants.push(Want::fixed(Quantity::ToolCalls, 1));
    }
    let (_, grant) = ask(cx, &lines, &Request::fixed(wants)).await?;
    grant.charge(cx, Quantity::ToolCalls, Some(1));
    Ok(grant)
}

/// The lines that the conversation draws on.
async fn lines(cx: &Cx<'_>) -> Result<Vec<Key>, Error> {
    let accounts = cx.app.budgets.accounts(&cx.app.db, cx.claimed.tenant).await?;
    let shared = accounts.of(Some(cx.claimed.user), Some(cx.snapshot.agent_id));
    let own = cx.meter.0.iter().flat_map(|cap| {
        let budget = cap.id();
        cap.budget.lines().into_iter().map(move |(quantity, _)| Key { budget, quantity })
    });
    Ok(shared.chain(own).collect())
}

async fn ask(cx: &Cx<'_>, lines: &[Key], request: &Request) -> Result<(u32, Grant), Refused> {
    let granted = match try_ask(cx, lines, request).await? {
        // What earlier calls have left comes back with the records of them.
        Err(_) if cx.journal.has_notes() => {
            cx.journal.commit().await.map_err(Error::from)?;
            try_ask(cx, lines, request).await?
        }
        granted => granted,
    };
    granted.map_err(Refused::Short)
}

type Asked = Result<(u32, Grant), Vec<Short>>;

async fn try_ask(cx: &Cx<'_>, lines: &[Key], request: &Request) -> Result<Asked, Error> {
    let lease = &cx.app.lease;
    if !lease.holds() || lease.lapses() != cx.lapses {
        return Err(AppendError::Fenced.into());
    }
    let (tenant, run, epoch) = (cx.claimed.tenant, cx.claimed.run, cx.claimed.epoch);
    let asker = Asker { tenant, own: Some((run, epoch)), lapses: cx.lapses };
    let of = (lines, &*cx.meter.0);
    let answer = cx.app.budgets.reserve(&cx.app.db, &asker, of, request).await?;
    cx.app.rouse(answer.rouse).await;
    Ok(answer.reserved.map(|reserved| (reserved.output, Grant::new(reserved))))
}

impl Till for Cx<'_> {
    fn charge(&self, drawn: Drawn) {
        self.journal.draw(drawn);
    }
}

impl Grant {
    /// The tool with no more time than was set aside: its call ends then as one that takes too long.
    pub(super) fn within<'t>(&self, tool: &'t SnapshotTool) -> Cow<'t, SnapshotTool> {
        match self.left(tool).map(|left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1))
        {
            Some(left) if left < tool.timeout_ms => {
                Cow::Owned(SnapshotTool { timeout_ms: left, ..tool.clone() })
            }
            _ => Cow::Borrowed(tool),
        }
    }

    /// Whether there is time to make a call again that broke off.
    pub(super) fn lasts(&self, tool: &SnapshotTool) -> bool {
        self.left(tool).is_none_or(|left| left > LEAST_TIME)
    }

    /// Who works for the run has time of their own.
    fn left(&self, tool: &SnapshotTool) -> Option<Duration> {
        let until = self.until().filter(|_| tool.kind != ToolKind::Agent)?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Sets more time aside.
    pub(super) async fn prolong(&mut self, cx: &Cx<'_>) -> Result<(), Refused> {
        self.end_time(cx);
        let lines = lines(cx).await?;
        let (_, more) = ask(cx, &lines, &Request::fixed(vec![slice()])).await?;
        self.go_on(more);
        Ok(())
    }
}

/// Writes down that somebody has changed a budget of the run.
pub(super) fn note_change(cx: &Cx<'_>, changed: Option<Box<Changed>>) {
    if let Some(changed) = changed {
        cx.journal.note(Record::BudgetChanged(changed));
    }
}

/// The same for what a run has not taken in that is stopped: nobody will ask it again.
pub(super) async fn note_changes(cx: &Cx<'_>) -> Result<(), Error> {
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let signals = signal::open(&mut tx, cx.claimed.run).await?;
    for (n, signal) in signals {
        if let Signal::Room { changed: changed @ Some(_) } = signal
            && !cx.journal.has_heard(n)
        {
            note_change(cx, changed);
            cx.journal.drained(n);
        }
    }
    Ok(())
}

/// Writes down what conversations are short of that have nothing to do, and shows what was said so far.
pub(super) fn note<'r>(cx: &Cx<'_>, runs: impl Iterator<Item = &'r Run>) {
    let short: Vec<&Run> = runs.filter(|run| !run.short.is_empty()).collect();
    if short.is_empty() {
        return;
    }
    let met = short.iter().flat_map(|run| run.short.values().flatten()).cloned().collect();
    cx.journal.note(Record::BudgetMet { short: met });
    let said = short.iter().flat_map(|run| run.state.messages.iter().rev());
    let last = said.clone().find_map(|message| match message {
        Message::Assistant { content, .. } if !content.is_empty() => Some(content.clone()),
        _ => None,
    });
    cx.journal.change(|change| change.output = last);
    metrics::counter!("engine_budgets_met_total").increment(1);
}
