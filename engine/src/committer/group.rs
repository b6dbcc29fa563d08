//! A group of appends as one statement.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dbutil::{Seat, within};
use shared_models::{RunId, TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::append::{Append, Spent, printable};
use crate::record::VERSION;

/// What takes longer than this was lost on its way to the database.
const LIMIT: Duration = Duration::from_secs(15);

/// When each run's append became durable; a run that is missing was fenced.
pub(super) type Times = HashMap<RunId, DateTime<Utc>>;

pub(super) enum Failed {
    /// The connection broke: it may have happened.
    Lost(String),
    /// The database says no to something in the group: nothing happened.
    Refused(String),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        if dbutil::is_refused(&error) {
            Self::Refused(error.to_string())
        } else {
            Self::Lost(error.to_string())
        }
    }
}

/// Writes a group. What it spends is counted in the rows of `slot`.
pub(super) async fn commit(
    seat: &mut Seat,
    appends: &[&Append],
    slot: i16,
) -> Result<Times, Failed> {
    let columns = Columns::of(appends)?;
    let write = async { execute(seat.take(&tenants(appends)).await?, columns, slot).await };
    // Large, as its statement has many columns.
    let done = within(LIMIT, Box::pin(write)).await.map_err(Failed::from);
    if matches!(done, Err(Failed::Lost(_))) {
        seat.give_up();
    }
    done
}

/// The same after a connection broke: a run whose append is already there under our epoch was not fenced, its first
/// attempt had come through.
pub(super) async fn commit_again(
    seat: &mut Seat,
    appends: &[&Append],
    slot: i16,
) -> Result<Times, Failed> {
    let mut times = commit(seat, appends, slot).await?;
    for append in appends {
        if append.records.is_empty() || times.contains_key(&append.run) {
            continue;
        }
        let written = sqlx::query_scalar!(
            "select at from engine.journal
             where tenant_id = $1 and run_id = $2 and seq = $3 and epoch = $4",
            append.tenant as _,
            append.run as _,
            append.seq,
            append.epoch,
        )
        .fetch_optional(seat.take(&tenants(appends)).await?);
        let at = within(LIMIT, written).await?;
        times.extend(at.map(|at| (append.run, at)));
    }
    Ok(times)
}

fn tenants(appends: &[&Append]) -> Vec<TenantId> {
    let mut tenants: Vec<TenantId> = appends.iter().map(|append| append.tenant).collect();
    tenants.sort_unstable();
    tenants.dedup();
    tenants
}

/// The columns of a group, transposed for `unnest`.
#[derive(Default)]
struct Columns {
    runs: Runs,
    content: Contents,
    journal: Journal,
    effects: Effects,
    timers: Timers,
    outbox: Outbox,
    spending: Spending,
    signals: Signals,
    drawn: Draws,
}

macro_rules! columns {
    ($($name:ident { $($column:ident: $type:ty,)+ })+) => {
        $(#[derive(Default)] struct $name { $($column: Vec<$type>,)+ })+
    };
}

columns! {
    Runs {
        run: Uuid, tenant: Uuid, epoch: i32, seq: i64, records: i64, progress: bool,
        status: Option<String>, wait_reason: Option<String>, output: Option<String>,
        finish_reason: Option<String>, error_code: Option<String>, error: Option<String>,
        usage: Option<String>, steps: Option<i32>,
        priced: bool, cost: Option<i64>,
    }
    Spending {
        run: Uuid, agent: Uuid, model: String, unpriced: i64, input: i64, cache_read: i64, cache_write: i64,
        output: i64, reasoning: i64, cost: i64, user: Uuid,
    }
    Contents { run: Uuid, hash: Vec<u8>, body: Vec<u8>, }
    Journal { run: Uuid, seq: i64, path: String, kind: String, data: String, }
    Effects {
        run: Uuid, call: String, tool: String, class: String, key: Uuid, timeout: i64,
        state: String, reason: Option<String>, answered_by: Option<Uuid>,
    }
    Signals { n: i64, }
    Draws { run: Uuid, budget: Uuid, quantity: String, hold: Uuid, amount: i64, }
    Timers { run: Uuid, name: String, millis: i64, }
    Outbox { run: Uuid, message: Uuid, event: Uuid, attempt: i32, subject: String, envelope: String, }
}

impl Columns {
    fn of(appends: &[&Append]) -> Result<Self, Failed> {
        let mut columns = Self::default();
        for append in appends {
            columns.push(append).map_err(|error| Failed::Refused(error.to_string()))?;
        }
        Ok(columns)
    }

    fn push(&mut self, append: &Append) -> Result<(), serde_json::Error> {
        let run = append.run.uuid();
        self.push_run(append)?;
        self.signals.n.extend(&append.drained);
        for (hash, body) in &append.content {
            self.content.run.push(run);
            self.content.hash.push(hash.0.to_vec());
            self.content.body.push(body.clone());
        }
        for (noted, seq) in append.records.iter().zip(append.seq..) {
            let (kind, data) = noted.record.columns()?;
            self.journal.run.push(run);
            self.journal.seq.push(seq);
            self.journal.path.push(noted.path.as_ref().to_owned());
            self.journal.kind.push(kind);
            self.journal.data.push(data);
        }
        for change in &append.effects {
            let effects = &mut self.effects;
            effects.run.push(run);
            effects.call.push(printable(&change.call_id));
            effects.tool.push(printable(&change.tool_name));
            effects.class.push(change.class.into());
            effects.key.push(change.idempotency_key);
            effects.timeout.push(change.timeout_ms);
            effects.state.push(change.state.into());
            effects.reason.push(change.reason.as_deref().map(printable));
            effects.answered_by.push(change.answered_by.map(UserId::uuid));
        }
        if let Some((name, millis)) = append.timer {
            self.timers.run.push(run);
            self.timers.name.push(name.into());
            self.timers.millis.push(millis);
        }
        for row in &append.outbox {
            self.outbox.run.push(run);
            self.outbox.message.push(row.message_id.uuid());
            self.outbox.event.push(row.event_id);
            self.outbox.attempt.push(row.attempt);
            self.outbox.subject.push(row.subject.clone());
            self.outbox.envelope.push(row.envelope.clone());
        }
        for spent in &append.spent {
            self.push_spent(run, spent);
        }
        for drawn in &append.drawn {
            self.drawn.run.push(run);
            self.drawn.budget.push(drawn.key.budget.uuid());
            self.drawn.quantity.push(drawn.key.quantity.as_str().to_owned());
            self.drawn.hold.push(drawn.hold);
            self.drawn.amount.push(drawn.amount);
        }
        Ok(())
    }

    fn push_spent(&mut self, run: Uuid, spent: &Spent) {
        // The numbers come from outside: beyond what the columns hold they are as good as wrong.
        let tokens = |n: u64| i64::try_from(n).unwrap_or(0);
        let (spending, usage) = (&mut self.spending, &spent.usage);
        spending.run.push(run);
        spending.agent.push(spent.agent.uuid());
        spending.user.push(spent.user.uuid());
        spending.model.push(printable(&spent.model));
        spending.unpriced.push(i64::from(spent.cost.is_none()));
        spending.input.push(tokens(usage.input_tokens));
        spending.cache_read.push(tokens(usage.cache_read_tokens));
        spending.cache_write.push(tokens(usage.cache_write_tokens));
        spending.output.push(tokens(usage.output_tokens));
        spending.reasoning.push(tokens(usage.reasoning_tokens));
        spending.cost.push(spent.cost.map_or(0, |cost| cost.0));
    }

    fn push_run(&mut self, append: &Append) -> Result<(), serde_json::Error> {
        let (runs, change) = (&mut self.runs, &append.change);
        runs.run.push(append.run.uuid());
        runs.tenant.push(append.tenant.uuid());
        runs.epoch.push(append.epoch);
        runs.seq.push(append.seq);
        runs.records.push(append.records.len() as i64);
        runs.progress.push(append.records.iter().any(|noted| noted.record.is_progress()));
        runs.status.push(change.status.map(Into::into));
        runs.wait_reason.push(change.wait_reason.map(Into::into));
        runs.output.push(change.output.as_deref().map(printable));
        runs.finish_reason.push(change.finish_reason.map(Into::into));
        runs.error_code.push(change.error_code.clone());
        runs.error.push(change.error.as_deref().map(printable));
        runs.usage.push(change.usage.map(|usage| serde_json::to_string(&usage)).transpose()?);
        runs.steps.push(change.steps.map(|steps| steps as i32));
        runs.priced.push(change.cost.is_some());
        runs.cost.push(change.cost.flatten().map(|cost| cost.0));
        Ok(())
    }
}

async fn execute(
    connection: &mut PgConnection,
    columns: Columns,
    slot: i16,
) -> Result<Times, sqlx::Error> {
    let Columns { runs, content, journal, effects, timers, outbox, spending, signals, drawn } =
        columns;
    let moved = sqlx::query_file!(
        "src/committer/group.sql",
        &runs.run,
        &runs.tenant,
        &runs.epoch,
        &runs.seq,
        &runs.records,
        &runs.progress,
        &runs.status as _,
        &runs.wait_reason as _,
        &runs.output as _,
        &runs.finish_reason as _,
        &runs.error_code as _,
        &runs.error as _,
        &runs.usage as _,
        &runs.steps as _,
        &signals.n,
        &content.run,
        &content.hash,
        &content.body,
        &journal.run,
        &journal.seq,
        &journal.kind,
        &journal.data,
        VERSION,
        &effects.run,
        &effects.call,
        &effects.tool,
        &effects.class,
        &effects.key,
        &effects.timeout,
        &effects.state,
        &effects.reason as _,
        &effects.answered_by as _,
        &timers.run,
        &timers.name,
        &timers.millis,
        &outbox.run,
        &outbox.message,
        &outbox.event,
        &outbox.attempt,
        &outbox.subject,
        &outbox.envelope,
        &runs.priced,
        &runs.cost as _,
        &spending.run,
        &spending.model,
        &spending.unpriced,
        &spending.input,
        &spending.cache_read,
        &spending.cache_write,
        &spending.output,
        &spending.reasoning,
        &spending.cost,
        slot,
        &journal.path,
        &spending.agent,
        &drawn.run,
        &drawn.budget,
        &drawn.quantity,
        &drawn.hold,
        &drawn.amount,
        &spending.user,
    )
    .fetch_all(connection)
    .await?;
    Ok(moved.into_iter().map(|row| (RunId::from(row.run_id), row.at)).collect())
}
