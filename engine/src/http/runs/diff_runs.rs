use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use servicekit::{Caller, FieldError, Params, Path, Problem, scope::RunsRead};
use shared_models::{MicroUsd, ProblemBody, RunId, RunMode, RunStatus, Usage};
use utoipa::ToSchema;

use super::diff_lists::{
    CallDiff, DiffedMember, MemberDiff, MessageDiff, members, messages, tools,
};
use super::visible;
use crate::app::App;
use crate::error::Error;
use crate::fork::MOST_RECORDS;
use crate::run_diff::{self, Called, Talk};
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
    /// Whether nothing that was said or called differs: nothing of what is left out here either.
    same: bool,
    /// Whether they were told the same by their instructions.
    same_instructions: bool,
    mode: Both<RunMode>,
    status: Both<RunStatus>,
    /// Who has worked in runs of swarms, by their paths: those of `a` in their order, then those that only `b` has; at most
    /// 500.
    members: Vec<MemberDiff>,
    /// There are more of them.
    more_members: bool,
    /// What was said, in order, in runs of swarms by one member after the other; at most 500.
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
pub(super) struct DiffedAgent {
    name: String,
    version: i32,
    model: String,
}

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
pub(super) struct Side {
    row: run::Row,
    snapshot: RunSnapshot,
    told: Transcript,
    pub(super) calls: Vec<Called>,
}

impl Side {
    async fn read(tx: &mut TenantTx, row: run::Row) -> Result<Self, Error> {
        if journal::last_seq(tx, row.run_id).await? > MOST_RECORDS {
            return Err(Error::RunTooLong(row.run_id));
        }
        let (snapshot, told) = transcript::read(tx, row.run_id, row.root_run_id).await?;
        let calls = run_diff::calls(&run_diff::talks(&told, snapshot.history.len()));
        Ok(Self { row, snapshot, told, calls })
    }

    pub(super) fn talks(&self) -> Vec<Talk<'_>> {
        run_diff::talks(&self.told, self.snapshot.history.len())
    }

    /// What its agents are told by their instructions.
    fn instructions(&self) -> Vec<(&str, &str)> {
        match &self.snapshot.swarm {
            None => vec![("", &self.snapshot.instructions)],
            Some(swarm) => {
                let agents = swarm.plan.agents().into_iter().zip(&swarm.members);
                agents.map(|((plan, _), agent)| (&*plan.name, &*agent.instructions)).collect()
            }
        }
    }

    pub(super) fn member(&self, talk: &Talk<'_>) -> DiffedMember {
        let swarm = self.snapshot.swarm.as_ref();
        let agent = swarm.and_then(|swarm| swarm.agent_at(&self.told.plan, &talk.path));
        DiffedMember {
            agent: agent.map(|agent| DiffedAgent {
                name: agent.agent_name.clone(),
                version: agent.agent_version,
                model: agent.model.clone(),
            }),
            steps: talk.state.steps,
            finish_reason: talk.state.outcome().map(|outcome| outcome.finish_reason.as_str()),
        }
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
        let (a, b) = (run_diff::prints(&one.talks()), run_diff::prints(&other.talks()));
        let (messages, said) = messages((&a, &b), payloads);
        let (tools, called) = tools(sides, payloads);
        let (members, more_members) = members(sides, (&a, &b));
        Self {
            a: one.row.run_id,
            b: other.row.run_id,
            agent: both(sides, Side::agent),
            same: said.same && called.same,
            same_instructions: one.instructions() == other.instructions(),
            mode: both(sides, |side| side.row.mode()),
            status: both(sides, |side| side.row.status()),
            members,
            more_members,
            messages,
            more_messages: said.more,
            tools,
            more_tools: called.more,
            steps: both(sides, |side| side.told.state.used().0),
            usage: both(sides, Side::usage),
            cost_micro_usd: both(sides, Side::cost),
            spent_micro_usd: both(sides, |side| side.told.cost),
            seconds: both(sides, Side::seconds),
            redacted: !payloads,
        }
    }
}
