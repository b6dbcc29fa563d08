//! Budgets as a run is driven: asked before each call, charged after it. A call for which there is no room is not begun, and a
//! run that has nothing else to do waits until there is.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use agentcore::models::KnownModels;
use agentcore::{Message, ModelRequest, ToolCall};
use shared_models::{MicroUsd, RunId, ToolKind, Usage};
use tokio::time::Instant;

use super::{Cx, Run};
use crate::budgets::{Asker, Draw, Key, Quantity, Request, RunCap, Short, Want, input_tokens};
use crate::committer::AppendError;
use crate::definition::Budget;
use crate::error::Error;
use crate::models::Bound;
use crate::prices::Rates;
use crate::record::Record;
use crate::snapshot::{RunSnapshot, SnapshotTool};

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

/// What a call may use up. Empty when nothing limits it.
#[derive(Debug, Default)]
pub(super) struct Grant {
    draws: Vec<(Key, Arc<Draw>)>,
    /// Fewer tokens of output than it would like to have.
    pub(super) clamped: bool,
    /// Since when time is counted, and until when there is some.
    time: Option<(Instant, Instant)>,
    /// The tokens of the request, estimated.
    input: i64,
    /// What was asked for, for a reply that breaks off.
    wants: Vec<Want>,
}

/// Why a call is not begun, or does not go on.
#[derive(Debug)]
pub(super) enum Refused {
    Short(Vec<Short>),
    /// Money is limited, and nobody knows what the call costs.
    Unpriced(String),
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Models are given time in slices, and so are not kept waiting by what others might need.
const SLICE: Duration = Duration::from_secs(30);
/// Less time is of no use.
const LEAST_TIME: Duration = Duration::from_secs(1);
/// Bytes of output that are taken as a token when nobody says how many it was.
const PER_TOKEN: usize = 3;
/// Fewer tokens of output are of no use.
const LEAST_OUTPUT: u32 = 16;
/// What is set aside at a time for a model that was not told how much to write. Who has more to say is asked to go on.
const OUTPUT: u32 = 8192;

/// Sets aside what a model may take, and has it say no more than that.
pub(super) async fn for_model(
    cx: &Cx<'_>,
    bound: &Bound,
    request: &mut ModelRequest,
) -> Result<Grant, Refused> {
    let lines = lines(cx).await?;
    if lines.is_empty() {
        return Ok(Grant::default());
    }
    let limited = |quantity| lines.iter().any(|key| key.quantity == quantity);
    let known = KnownModels::default().of(&bound.name);
    let configured = bound.context_window.and_then(|window| u64::try_from(window).ok());
    let input = input_tokens(request, configured.or(known.map(|known| known.window)));
    let mut wants = Vec::with_capacity(3);
    if limited(Quantity::Cost) {
        let rates = rates(cx, bound).await?;
        wants.push(rates.worst(input));
    }
    if limited(Quantity::Tokens) {
        let rate = 1_000_000;
        wants.push(Want { quantity: Quantity::Tokens, base: input, rate, slack: 0 });
    }
    let speaks = !wants.is_empty();
    if limited(Quantity::ActiveMs) {
        wants.push(slice());
    }
    let most = known.map(|known| u32::try_from(known.most_output).unwrap_or(u32::MAX));
    // A form has to be filled in one go.
    let part = most.filter(|most| request.output.is_some() || *most < OUTPUT).unwrap_or(OUTPUT);
    let output = request.max_tokens.unwrap_or(part);
    let asked = Request { wants, output, least: output.min(LEAST_OUTPUT) };
    let (output, mut grant) = ask(cx, &lines, &asked).await?;
    grant.input = input;
    if speaks {
        let whole = request.max_tokens.or(most);
        request.max_tokens = Some(output);
        grant.clamped = whole.is_none_or(|whole| output < whole);
        grant.wants = asked.wants;
    }
    Ok(grant)
}

impl Rates {
    /// What a call costs at most, by the tokens it is told.
    fn worst(&self, input: i64) -> Want {
        let dearest = i128::from(self.input.max(self.cache_read).max(self.cache_write));
        let base = (dearest * i128::from(input) + 999_999) / 1_000_000;
        let base = i64::try_from(base).unwrap_or(i64::MAX);
        Want { quantity: Quantity::Cost, base, rate: self.output.max(self.reasoning), slack: 0 }
    }
}

fn slice() -> Want {
    let millis = |time: Duration| time.as_millis() as i64;
    let slack = millis(SLICE) - millis(LEAST_TIME);
    Want { quantity: Quantity::ActiveMs, base: millis(SLICE), rate: 0, slack }
}

async fn rates(cx: &Cx<'_>, bound: &Bound) -> Result<Rates, Refused> {
    let names = bound.prices();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rates = cx.app.prices.rates(&cx.app.db, cx.claimed.tenant, &names).await;
    let unpriced = || {
        let name = &bound.name;
        format!("the model `{name}` has no price, and a budget limits what the run may cost")
    };
    rates.map_err(Error::from)?.ok_or_else(|| Refused::Unpriced(unpriced()))
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
    let shared = accounts.of(cx.claimed.user, cx.snapshot.agent_id);
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
    let asker = Asker { tenant, run, epoch, lapses: cx.lapses };
    let of = (lines, &*cx.meter.0);
    let answer = cx.app.budgets.reserve(&cx.app.db, &asker, of, request).await?;
    cx.app.rouse(answer.rouse).await;
    Ok(answer.reserved.map(|reserved| {
        let now = Instant::now();
        let of_time = reserved.draws.iter().filter(|(key, _)| key.quantity == Quantity::ActiveMs);
        let least = of_time.map(|(_, draw)| draw.reserved()).min();
        let time = least.map(|millis| (now, now + Duration::from_millis(millis.max(0) as u64)));
        (reserved.output, Grant { draws: reserved.draws, time, ..Grant::default() })
    }))
}

impl Grant {
    /// Charges all budgets with what a call took of something; what is not known is charged as it was set aside.
    fn charge(&self, cx: &Cx<'_>, quantity: Quantity, amount: Option<i64>) {
        for (_, draw) in self.draws.iter().filter(|(key, _)| key.quantity == quantity) {
            cx.journal.draw(draw.settle(amount.unwrap_or_else(|| draw.reserved())));
        }
    }

    /// Charges what a reply took.
    pub(super) fn charge_reply(&self, cx: &Cx<'_>, usage: &Usage, cost: Option<MicroUsd>) {
        self.charge(cx, Quantity::Cost, cost.map(|cost| cost.0));
        let tokens = i64::try_from(usage.total()).unwrap_or(i64::MAX);
        self.charge(cx, Quantity::Tokens, Some(tokens));
    }

    /// Charges what a reply may have taken that broke off after so many bytes, by estimate: nobody says what it took.
    pub(super) fn charge_broken(&self, cx: &Cx<'_>, bytes: usize) {
        let output = u32::try_from(bytes.div_ceil(PER_TOKEN)).unwrap_or(u32::MAX);
        for want in self.wants.iter().filter(|want| want.quantity != Quantity::ActiveMs) {
            self.charge(cx, want.quantity, Some(want.need(output)));
        }
    }

    /// What a reply took that is ended after so many bytes, by estimate.
    pub(super) fn usage(&self, bytes: usize) -> Usage {
        let input_tokens = u64::try_from(self.input).unwrap_or_default();
        let output_tokens = bytes.div_ceil(PER_TOKEN) as u64;
        Usage { input_tokens, output_tokens, ..Usage::default() }
    }

    /// Charges the time since it was last charged.
    pub(super) fn charge_time(&mut self, cx: &Cx<'_>) {
        if let Some((since, _)) = self.time.take() {
            self.charge(cx, Quantity::ActiveMs, Some(since.elapsed().as_millis() as i64));
        }
    }

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
        let (_, until) = self.time.filter(|_| tool.kind != ToolKind::Agent)?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Waits until the time that was set aside is over.
    pub(super) async fn time_is_over(&self) {
        match self.time {
            Some((_, until)) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Sets more time aside.
    pub(super) async fn prolong(&mut self, cx: &Cx<'_>) -> Result<(), Refused> {
        self.charge_time(cx);
        self.draws.retain(|(key, _)| key.quantity != Quantity::ActiveMs);
        let lines = lines(cx).await?;
        let (_, more) = ask(cx, &lines, &Request::fixed(vec![slice()])).await?;
        self.draws.extend(more.draws);
        self.time = more.time;
        Ok(())
    }
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
