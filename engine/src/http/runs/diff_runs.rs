use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use servicekit::{Caller, FieldError, Params, Path, Problem, scope::RunsRead};
use shared_models::{MicroUsd, ProblemBody, RunId, RunMode, RunStatus, Usage};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::call_key;
use crate::error::Error;
use crate::fork::MOST_RECORDS;
use crate::run_diff::{self, CallChange, Called, Pair, Print};
use crate::snapshot::RunSnapshot;
use crate::store::{journal, run};
use crate::transcript::{self, Transcript};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffRuns {
    /// The other run.
    #[param(required = true)]
    with: Option<RunId>,
}

/// Two runs beside each other. `a` is the run of the path, `b` the one that it is compared with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunDiff {
    a: RunId,
    b: RunId,
    agent: Both<DiffedAgent>,
    /// Whether they were told the same by their instructions.
    same_instructions: bool,
    mode: Both<RunMode>,
    status: Both<RunStatus>,
    /// What was said, in order; at most 500.
    messages: Vec<MessageDiff>,
    /// There are more of them.
    more_messages: bool,
    /// What was called, in order; at most 500.
    tools: Vec<CallDiff>,
    /// There are more of them.
    more_tools: bool,
    steps: Both<u32>,
    /// Of all replies that stand in the run, those that a fork has of another one too.
    usage: Both<Usage>,
    /// What those cost; null when one of the models has no price.
    cost_micro_usd: Both<Option<MicroUsd>>,
    /// What the run itself has cost: without what a fork has of another one.
    spent_micro_usd: Both<Option<MicroUsd>>,
    /// From the first step to the end; null while there is none.
    seconds: Both<Option<f64>>,
    /// Content is withheld, because you may not see it.
    redacted: bool,
}

/// The same of both runs.
#[derive(Debug, Serialize, ToSchema)]
struct Both<T: ToSchema> {
    a: T,
    b: T,
}

#[derive(Debug, Serialize, ToSchema)]
struct DiffedAgent {
    name: String,
    version: i32,
    model: String,
}

/// How something differs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Change {
    Same,
    /// It says something else.
    Changed,
    /// The same tool is called with other arguments.
    Arguments,
    /// The same call has another result.
    Result,
    /// Only `b` has it.
    Added,
    /// Only `a` has it.
    Removed,
}

#[derive(Debug, Serialize, ToSchema)]
struct MessageDiff {
    change: Change,
    role: &'static str,
    a: Option<DiffedMessage>,
    b: Option<DiffedMessage>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DiffedMessage {
    /// Its number in its run, from 0.
    n: usize,
    #[serde(flatten)]
    text: Excerpt,
    /// The names of the tools that it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    calls: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CallDiff {
    change: Change,
    tool_name: String,
    /// Whose call, in a run of a swarm; empty for the run's own agent.
    path: Vec<String>,
    a: Option<DiffedCall>,
    b: Option<DiffedCall>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DiffedCall {
    call_id: String,
    /// As the model wrote them.
    arguments: Excerpt,
    /// What the model was told; null when nobody has answered.
    result: Option<Excerpt>,
    /// That was an error.
    error: bool,
}

/// A text, or how it begins.
#[derive(Debug, Serialize, ToSchema)]
struct Excerpt {
    /// Null for somebody who may not see content.
    text: Option<String>,
    /// Of the whole text.
    bytes: usize,
    /// There is more of it than is shown.
    cut: bool,
}

const MOST: usize = 500;
/// What is shown of a text that differs, and of one that does not.
const LONGEST: usize = 4096;
const LONGEST_SAME: usize = 256;

/// See how two runs differ: in what was said and called, and in what they took. What a fork has of another run is a part of
/// both.
#[utoipa::path(get, path = "/v1/runs/{run_id}/diff", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path), DiffRuns),
    responses((status = 200, body = RunDiff), (status = "default", body = ProblemBody)))]
pub(crate) async fn diff_runs(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
    Params(query): Params<DiffRuns>,
) -> Result<Json<RunDiff>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, run_id).await?;
    let with = query.with.ok_or_else(|| {
        Problem::validation(vec![FieldError::new("/with", "which run is it compared with?")])
    })?;
    let other = visible(&mut tx, &caller, with).await?;
    let (one, other) = (Side::read(&mut tx, row).await?, Side::read(&mut tx, other).await?);
    drop(tx);
    let payloads = caller.payloads;
    // Long runs take a while to align.
    let diff = tokio::task::spawn_blocking(move || RunDiff::of(&one, &other, payloads)).await;
    Ok(Json(diff.map_err(anyhow::Error::from).map_err(Error::from)?))
}

/// One of the two.
struct Side {
    row: run::Row,
    snapshot: RunSnapshot,
    told: Transcript,
    said: Vec<agentcore::Message>,
    calls: Vec<Called>,
}

impl Side {
    async fn read(tx: &mut TenantTx, row: run::Row) -> Result<Self, Error> {
        if journal::last_seq(tx, row.run_id).await? > MOST_RECORDS {
            return Err(Error::RunTooLong(row.run_id));
        }
        let (snapshot, told) = transcript::read(tx, row.run_id, row.root_run_id).await?;
        // What was said before the run is not of the run.
        let before = snapshot.history.len();
        let said = told.messages().into_iter().skip(before).collect();
        let calls = run_diff::calls(&told, before);
        Ok(Self { row, snapshot, told, said, calls })
    }

    fn prints(&self) -> Vec<Print<'_>> {
        self.said.iter().map(Print::of).collect()
    }

    fn agent(&self) -> DiffedAgent {
        DiffedAgent {
            name: self.row.swarm_name.clone().unwrap_or_else(|| self.row.agent_name.clone()),
            version: self.row.swarm_version.unwrap_or(self.row.agent_version),
            model: self.snapshot.model.clone(),
        }
    }

    fn usage(&self) -> Usage {
        let (_, mut usage) = self.told.state.used();
        usage += self.told.copied.usage;
        usage
    }

    fn cost(&self) -> Option<MicroUsd> {
        self.told.cost.zip(self.told.copied.cost).map(|(own, copied)| own + copied)
    }

    fn seconds(&self) -> Option<f64> {
        let millis = |from: DateTime<Utc>, upto: DateTime<Utc>| (upto - from).num_milliseconds();
        let (from, upto) = self.row.started_at.zip(self.row.finished_at)?;
        Some(millis(from, upto) as f64 / 1000.0)
    }
}

impl RunDiff {
    fn of(one: &Side, other: &Side, payloads: bool) -> Self {
        fn both<T: ToSchema>(sides: (&Side, &Side), of: impl Fn(&Side) -> T) -> Both<T> {
            Both { a: of(sides.0), b: of(sides.1) }
        }
        let sides = (one, other);
        let (messages, more_messages) = messages(sides, payloads);
        let (tools, more_tools) = tools(sides, payloads);
        Self {
            a: one.row.run_id,
            b: other.row.run_id,
            agent: both(sides, Side::agent),
            same_instructions: one.snapshot.instructions == other.snapshot.instructions
                && one.snapshot.swarm == other.snapshot.swarm,
            mode: both(sides, |side| side.row.mode()),
            status: both(sides, |side| side.row.status()),
            messages,
            more_messages,
            tools,
            more_tools,
            steps: both(sides, |side| side.told.state.used().0),
            usage: both(sides, Side::usage),
            cost_micro_usd: both(sides, Side::cost),
            spent_micro_usd: both(sides, |side| side.told.cost),
            seconds: both(sides, Side::seconds),
            redacted: !payloads,
        }
    }
}

fn messages((one, other): (&Side, &Side), payloads: bool) -> (Vec<MessageDiff>, bool) {
    let (a, b) = (one.prints(), other.prints());
    let pairs = run_diff::pair_messages(&a, &b);
    let show = |n: usize, print: &Print<'_>, change: Change| DiffedMessage {
        n,
        text: Excerpt::of(&run_diff::text(print.message), change, payloads),
        calls: match print.message {
            agentcore::Message::Assistant { tool_calls, .. } => {
                tool_calls.iter().map(|call| call.name.clone()).collect()
            }
            _ => Vec::new(),
        },
    };
    let diff = |pair: &Pair| {
        let (n, m) = places(*pair);
        let (left, right) = (n.and_then(|n| a.get(n)), m.and_then(|m| b.get(m)));
        let change = match left.zip(right) {
            Some((left, right)) if run_diff::is_same(left, right) => Change::Same,
            Some(_) => Change::Changed,
            None if left.is_some() => Change::Removed,
            None => Change::Added,
        };
        MessageDiff {
            change,
            role: left.or(right).map_or("", |print| run_diff::role(print.message)),
            a: n.zip(left).map(|(n, print)| show(n, print, change)),
            b: m.zip(right).map(|(m, print)| show(m, print, change)),
        }
    };
    (pairs.iter().take(MOST).map(diff).collect(), pairs.len() > MOST)
}

fn tools((one, other): (&Side, &Side), payloads: bool) -> (Vec<CallDiff>, bool) {
    let pairs = run_diff::pair_calls(&one.calls, &other.calls);
    let show = |called: &Called, change: Change| DiffedCall {
        call_id: called.call.id.clone(),
        arguments: Excerpt::of(&called.call.arguments, change, payloads),
        result: called.answer.as_ref().map(|(text, _)| Excerpt::of(text, change, payloads)),
        error: called.answer.as_ref().is_some_and(|(_, error)| *error),
    };
    let diff = |pair: &Pair| {
        let (n, m) = places(*pair);
        let (a, b) = (n.and_then(|n| one.calls.get(n)), m.and_then(|m| other.calls.get(m)));
        let change = match a.zip(b).map(|(a, b)| a.change(b)) {
            Some(CallChange::Same) => Change::Same,
            Some(CallChange::Arguments) => Change::Arguments,
            Some(CallChange::Result) => Change::Result,
            None if a.is_some() => Change::Removed,
            None => Change::Added,
        };
        let named = a.or(b);
        CallDiff {
            change,
            tool_name: named.map(|called| called.call.name.clone()).unwrap_or_default(),
            path: named.map(|called| call_key::names(&called.path)).unwrap_or_default(),
            a: a.map(|called| show(called, change)),
            b: b.map(|called| show(called, change)),
        }
    };
    (pairs.iter().take(MOST).map(diff).collect(), pairs.len() > MOST)
}

fn places(pair: Pair) -> (Option<usize>, Option<usize>) {
    match pair {
        Pair::Both(a, b) => (Some(a), Some(b)),
        Pair::One(a) => (Some(a), None),
        Pair::Other(b) => (None, Some(b)),
    }
}

impl Excerpt {
    fn of(text: &str, change: Change, payloads: bool) -> Self {
        let most = if matches!(change, Change::Same) { LONGEST_SAME } else { LONGEST };
        let shown = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
        let cut = shown.len() < text.len();
        Self { text: payloads.then(|| shown.to_owned()), bytes: text.len(), cut }
    }
}
