//! Asking the model. A model call changes nothing in the world, so whoever takes a run over simply asks again.

mod deltas;
mod listen;
mod summarise;

use std::sync::Arc;
use std::time::Duration;

use agentcore::{
    Command, Failure, FailureCode, Happened, Message, Model, ModelError, ModelErrorKind,
    ModelRequest, OutputForm, Reply, ReplyFinish, RetryPolicy,
};
use shared_models::{MicroUsd, Usage};

use self::listen::{Heard, listen};
use self::summarise::summarise;
use super::budget::{self, Grant, Refused, broke_off};
use super::{Cx, Run, deferral, reconnect};
use crate::budgets::Short;
use crate::clients::credsvc::Needed;
use crate::committer::Spent;
use crate::error::Error;
use crate::models::{self, Bound};
use crate::prices::Rates;
use crate::record::Record;
use crate::snapshot::RunSnapshot;

/// Asks for what the loop wants to hear.
pub(super) async fn carry_out(cx: &Cx<'_>, run: &mut Run, command: &Command) -> Result<(), Error> {
    match command {
        Command::Summarise { upto } => summarise(cx, run, *upto).await,
        Command::CallModel | Command::CallTools(_) | Command::Finish(_) => call(cx, run).await,
    }
}

/// Counts what a reply took, and says what it cost. A price book that cannot be read for long leaves that open, as the reply is
/// worth more, and so does a provider that does not say what it took.
async fn spend(cx: &Cx<'_>, bound: &Bound, reply: &Reply, grant: &Grant) -> Option<MicroUsd> {
    let usage = reply.usage;
    let rates = rates(cx, bound).await;
    let told = usage != Usage::default();
    let cost = rates.filter(|_| told).and_then(|rates| rates.cost(&usage));
    grant.charge_reply(cx, reply, cost);
    let so_far = cx.cost.add(cost);
    cx.journal.change(|change| change.cost = Some(so_far));
    let (agent, user) = (cx.snapshot.agent_id, cx.claimed.user);
    cx.journal.spend(Spent { agent, user, model: bound.name.clone(), usage, cost });
    cost
}

/// Times that the price book is asked for, a second apart, while the database has no time for it.
const ASKED: u32 = 6;

/// What the model costs now; none when that is not known.
async fn rates(cx: &Cx<'_>, bound: &Bound) -> Option<Rates> {
    let names = bound.prices();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for tried in 1..=ASKED {
        match cx.app.prices.rates(&cx.app.db, cx.claimed.tenant, &names).await {
            Ok(rates) => return rates,
            Err(error) => tracing::warn!(%error, tried, "the price book cannot be read"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    None
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Failed(#[from] ModelError),
    /// There may be one when the model's credential is connected again.
    #[error("{}", .0.reason)]
    Needs(Needed),
    /// There may be one when there is room in a budget.
    #[error("there is no room in a budget")]
    Short(Vec<Short>),
    /// Nobody knows whether there is room: the run is another worker's, or the database does not answer. Whoever drives the
    /// run next asks again.
    #[error(transparent)]
    Broken(Error),
}

impl From<Refused> for Unanswered {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Short(short) => Self::Short(short),
            Refused::Unpriced(why) => {
                ModelError::new(ModelErrorKind::Invalid, why).with_status(422).into()
            }
            Refused::Failed(error) => Self::Broken(error),
        }
    }
}

/// A reply, whose it is, and what it was allowed to take.
type Said = (Reply, Bound, Grant);

/// Asks until there is a reply or no hope, and takes it in. A model that cannot be asked before somebody connects its
/// credential again is waited for, unless the fallback answers.
async fn call(cx: &Cx<'_>, run: &mut Run) -> Result<(), Error> {
    let fallback = cx.snapshot.fallback_model.iter();
    let names: Vec<&String> = std::iter::once(&cx.snapshot.model).chain(fallback).collect();
    let mut attempt = 0;
    let (mut failure, mut needs) = (None, None);
    for (place, name) in names.iter().enumerate() {
        match ask(cx, run, name, &mut attempt).await? {
            Ok(said) => return replied(cx, run, said).await,
            Err(Unanswered::Short(short)) => {
                run.short.insert(reconnect::MODEL.to_owned(), short);
                return Ok(());
            }
            Err(error) => {
                if place + 1 < names.len() {
                    retried(cx, run, attempt, error.to_string(), Duration::ZERO);
                    attempt += 1;
                }
                match error {
                    Unanswered::Failed(error) => failure = Some(error),
                    Unanswered::Needs(needed) => needs = Some(needed),
                    Unanswered::Short(_) | Unanswered::Broken(_) => {}
                }
            }
        }
    }
    if let Some(needed) = needs {
        run.needs.insert(reconnect::MODEL.to_owned(), needed);
        return Ok(());
    }
    let failure = failure.map_or_else(no_model, Failure::from);
    cx.journal.note(Record::ModelFailed { failure: failure.clone() });
    run.step(Happened::ModelFailed(failure));
    Ok(())
}

fn no_model() -> Failure {
    Failure { code: FailureCode::ModelRejected, message: "the agent has no model".into() }
}

async fn replied(cx: &Cx<'_>, run: &mut Run, (mut reply, bound, grant): Said) -> Result<(), Error> {
    if grant.clamped && reply.finish == ReplyFinish::Length {
        // It has more to say: it is asked to go on, and waits until it may.
        reply.finish = ReplyFinish::Pause;
    }
    let (usage, spoke, finish) = (reply.usage, !reply.content.is_empty(), reply.finish);
    let cost = spend(cx, &bound, &reply, &grant).await;
    drop(grant);
    run.step(Happened::Replied(reply));
    // Kept as the loop has taken it in: with the ids it has given to calls that had none.
    let said = run
        .state
        .messages
        .iter()
        .rev()
        .find(|message| matches!(message, Message::Assistant { .. }));
    let said = said.ok_or_else(|| anyhow::anyhow!("the reply was not taken in"))?;
    let message = cx.journal.keep(said).map_err(anyhow::Error::from)?;
    if spoke {
        run.output = Some(message);
    }
    let step = run.state.steps;
    let finish = Some(finish);
    cx.journal.note(Record::ModelReplied { step, message, usage, finish, cost });
    // What a whole tree has come to is not known here.
    if run.untold.is_none() {
        let total = run.state.usage;
        cx.journal.change(|change| {
            change.usage = Some(total);
            change.steps = Some(step);
        });
    }
    Ok(())
}

fn retried(cx: &Cx<'_>, run: &Run, attempt: u32, error: String, delay: Duration) {
    let delay_ms = delay.as_millis() as u64;
    cx.journal.note(Record::ModelRetried { step: run.state.steps + 1, attempt, error, delay_ms });
}

/// Asks one model, again and again as the policy says.
async fn ask(
    cx: &Cx<'_>,
    run: &Run,
    name: &str,
    attempt: &mut u32,
) -> Result<Result<Said, Unanswered>, Error> {
    let policy = RetryPolicy::default();
    let mut tried = 0;
    loop {
        let block = cx.journal.note(Record::ModelCalled {
            step: run.state.steps + 1,
            model: name.to_owned(),
            attempt: *attempt,
            read: run.state.messages.len(),
        });
        cx.journal.commit().await?;
        let error = match once(cx, run, name, block).await {
            Ok(reply) => {
                cx.pass(|| format!("after asking {name}")).await;
                return Ok(Ok(reply));
            }
            Err(Unanswered::Failed(error)) => error,
            Err(Unanswered::Broken(error)) => return Err(error),
            Err(needs) => return Ok(Err(needs)),
        };
        let Some(delay) = policy.delay(tried, &error, rand::random()) else {
            return Ok(Err(error.into()));
        };
        tracing::info!(%error, ?delay, "the model is asked again");
        retried(cx, run, *attempt, error.to_string(), delay);
        cx.journal.commit().await?;
        (tried, *attempt) = (tried + 1, *attempt + 1);
        tokio::time::sleep(delay).await;
    }
}

async fn once(cx: &Cx<'_>, run: &Run, name: &str, block: i64) -> Result<Said, Unanswered> {
    let (model, bound) = resolve(cx, name).await?;
    let mut request = request(cx, run, &bound);
    let mut grant = budget::for_model(cx, &bound, &mut request).await?;
    let mut heard = Heard::default();
    let said = listen(cx, model.stream(&request), &mut grant, (block, &mut heard)).await;
    grant.charge_time(cx);
    let failed =
        |error: &Unanswered| matches!(error, Unanswered::Failed(error) if !broke_off(error.kind));
    match said {
        // Nothing was said, and nothing is charged for that.
        Err(error) if heard.bytes == 0 && failed(&error) => Err(error),
        Err(error) => {
            grant.charge_broken(cx, heard.bytes);
            Err(error)
        }
        Ok(reply) => Ok((reply, bound, grant)),
    }
}

async fn resolve(cx: &Cx<'_>, name: &str) -> Result<(Arc<dyn Model>, Bound), Unanswered> {
    let (tenant, run) = (cx.claimed.tenant, cx.claimed.run);
    let resolved = if name == cx.snapshot.model {
        models::resolve(cx.app, tenant, run, &cx.snapshot).await
    } else {
        let mut snapshot = RunSnapshot::clone(&cx.snapshot);
        name.clone_into(&mut snapshot.model);
        models::resolve(cx.app, tenant, run, &snapshot).await
    };
    resolved.map_err(|error| match error {
        Error::NeedsReconnect(needed) => Unanswered::Needs(needed),
        Error::Peer(error) if error.passing() => {
            ModelError::new(ModelErrorKind::Connection, error.to_string()).into()
        }
        // Nothing is known of the model: whoever drives the run next asks again.
        error @ Error::Db(_) => Unanswered::Broken(error),
        error => {
            ModelError::new(ModelErrorKind::Invalid, error.to_string()).with_status(422).into()
        }
    })
}

fn request(cx: &Cx<'_>, run: &Run, bound: &Bound) -> ModelRequest {
    ModelRequest {
        model: bound.model.clone(),
        messages: run.state.prompt(),
        tools: deferral::shown(cx, run).into(),
        output: cx
            .snapshot
            .output_schema
            .clone()
            .map(|schema| Arc::new(OutputForm { name: "output".into(), schema, strict: false })),
        temperature: Some(cx.snapshot.temperature),
        max_tokens: cx.snapshot.max_tokens,
        ..ModelRequest::default()
    }
}
