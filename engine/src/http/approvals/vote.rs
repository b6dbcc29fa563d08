//! What people say about a call.
//!
//! Invariant: a vote is about exactly what the voter names by its hash; when that is no longer what would be executed, the
//! vote is refused. Of several at once one comes first: the run and then the approval are held.

use agentcore::check_arguments;
use axum::{Json, extract::State};
use dbutil::TenantTx;
use serde::Deserialize;
use serde_json::Value;
use servicekit::caller::Actor;
use servicekit::{Body, Caller, FieldError, Path, Problem, scope::RunsWrite};
use shared_models::events::approval::ApprovalDecided;
use shared_models::{ApprovalId, ProblemBody, RunStatus, UserId};
use utoipa::ToSchema;

use super::view::Approval;
use super::visible;
use crate::app::App;
use crate::approvals::{self, Call, Policy};
use crate::definition::unstorable;
use crate::error::Error;
use crate::store::approval::{self, NewVote, Row};
use crate::store::signal::{self, Signal};
use crate::store::{queue, run};

const LONGEST: usize = 4096;

/// A yes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "binding": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }))]
pub(super) struct Approve {
    /// The `binding` of what you have looked at.
    binding: String,
    /// What is to be sent instead. It must fit the tool's schema; rules are asked about it too, and earlier votes are void.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    arguments: Option<Value>,
    /// Whether later calls of the same tool in this run are made without asking, whatever their arguments, unless a rule wants
    /// more of such a call than was wanted of this one. Holds when all whose votes count say so, and nobody has edited.
    #[serde(default)]
    for_run: bool,
    #[serde(default)]
    #[schema(max_length = 4096)]
    comment: Option<String>,
}

/// A no.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reject {
    /// The `binding` of what you have looked at.
    binding: String,
    /// Why, for the model.
    #[serde(default)]
    #[schema(max_length = 4096)]
    reason: Option<String>,
    /// Whether later calls of the same tool in this run are refused for the same reason without asking.
    #[serde(default)]
    for_run: bool,
}

/// Approve of a call, as it is or with other arguments. When enough people have, the call is made.
#[utoipa::path(post, path = "/v1/approvals/{approval_id}/approve", tag = "approvals", security(("token" = ["runs:write"])),
    params(("approval_id" = ApprovalId, Path)), request_body = Approve,
    responses((status = 200, body = Approval), (status = "default", body = ProblemBody)))]
pub(super) async fn approve(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(id): Path<ApprovalId>,
    Body(yes): Body<Approve>,
) -> Result<Json<Approval>, Problem> {
    check_text("/comment", yes.comment.as_deref())?;
    let edit = Edit::read(&app, &caller, id, yes.arguments).await?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let mut held = Held::take(&mut tx, &caller, id, &yes.binding).await?;
    let edited = held.edit(&mut tx, &caller, edit).await?;
    let said = approval::votes(&mut tx, id).await?;
    let revision = held.row.revision;
    let counted = said.iter().filter(|vote| vote.revision == revision && vote.kind != "reject");
    let counted: Vec<(UserId, bool)> = counted.map(|vote| (vote.user_id, vote.sticky)).collect();
    if counted.iter().any(|(user, _)| *user == held.user) {
        return Err(Error::ApprovalVoted.into());
    }
    let kind = if edited { "edit" } else { "approve" };
    held.vote(&mut tx, &caller, kind, yes.for_run, yes.comment.as_deref()).await?;
    if counted.len() + 1 >= held.row.policy.votes as usize {
        let original = held.row.asked.as_ref().map(|asked| &asked.0)
            == held.row.arguments.as_ref().map(|arguments| &arguments.0);
        let for_run = original && yes.for_run && counted.iter().all(|(_, sticky)| *sticky);
        held.settle(&mut tx, true, (for_run, None)).await?;
    }
    held.answer(&app, tx, &caller).await
}

/// Reject a call. It is not made, whoever else has approved; the model is told why.
#[utoipa::path(post, path = "/v1/approvals/{approval_id}/reject", tag = "approvals", security(("token" = ["runs:write"])),
    params(("approval_id" = ApprovalId, Path)), request_body = Reject,
    responses((status = 200, body = Approval), (status = "default", body = ProblemBody)))]
pub(super) async fn reject(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(id): Path<ApprovalId>,
    Body(no): Body<Reject>,
) -> Result<Json<Approval>, Problem> {
    check_text("/reason", no.reason.as_deref())?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let mut held = Held::take(&mut tx, &caller, id, &no.binding).await?;
    let reason = no.reason.as_deref();
    held.vote(&mut tx, &caller, "reject", no.for_run, reason).await?;
    held.settle(&mut tx, false, (no.for_run, reason)).await?;
    held.answer(&app, tx, &caller).await
}

fn check_text(pointer: &str, text: Option<&str>) -> Result<(), Problem> {
    let Some(text) = text else { return Ok(()) };
    let mut errors = unstorable(&Value::from(text), pointer);
    if text.len() > LONGEST {
        errors.push(FieldError::new(pointer, format!("at most {LONGEST} bytes")));
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::validation(errors)) }
}

/// Other arguments, and what the rules want of a call with them.
struct Edit {
    arguments: Value,
    more: Option<Policy>,
}

impl Edit {
    /// Asks the rules before anything is held: they may take their time. Nobody changes them, nor what they are asked about
    /// besides the arguments, while an approval is open.
    async fn read(
        app: &App,
        caller: &Caller<RunsWrite>,
        id: ApprovalId,
        arguments: Option<Value>,
    ) -> Result<Option<Self>, Problem> {
        let Some(arguments) = arguments else { return Ok(None) };
        let mut tx = app.db.begin(caller.tenant).await?;
        let (row, _) = visible(&mut tx, caller, id).await?;
        drop(tx);
        let seen = Call {
            tool: &row.tool_name,
            agent: row.subject.agent_name(),
            effect: row.subject.effect(),
            arguments: &arguments,
        };
        let fits = check_arguments(&row.parameters, &arguments.to_string()).is_ok();
        let more = if fits { approvals::policy(&row.rules, seen).await } else { None };
        Ok(Some(Self { arguments, more }))
    }
}

/// What has become of it, when nobody can decide any more.
fn over(row: &Row) -> Option<&'static str> {
    match row.status.as_str() {
        "open" if row.is_over => Some("expired"),
        "open" => None,
        "approved" => Some("approved"),
        "rejected" => Some("rejected"),
        "expired" => Some("expired"),
        _ => Some("withdrawn"),
    }
}

/// An approval that nobody else decides about meanwhile.
struct Held {
    row: Row,
    run: run::Row,
    user: UserId,
    settled: bool,
}

impl Held {
    async fn take(
        tx: &mut TenantTx,
        caller: &Caller<RunsWrite>,
        id: ApprovalId,
        binding: &str,
    ) -> Result<Self, Problem> {
        // A service is an agent's, or nobody's: agents do not approve of their own calls.
        let user = caller.person()?;
        let (seen, _) = visible(tx, caller, id).await?;
        let ended = run::hold(tx, seen.run_id).await?.is_none_or(RunStatus::terminal);
        approval::hold(tx, id).await?;
        // Whoever held them before may have decided.
        let (row, run) = visible(tx, caller, id).await?;
        if let Some(over) = over(&row).or(ended.then_some("withdrawn")) {
            return Err(Error::ApprovalClosed(over).into());
        }
        if let Some(why) = row.policy.refusal(user, caller.role, row.initiator_id) {
            return Err(Error::NotAVoter(why).into());
        }
        if !caller.payloads {
            return Err(Error::NotAVoter("you may not see what you would vote on").into());
        }
        if hex::encode(&row.binding) != binding {
            return Err(Error::ApprovalChanged.into());
        }
        Ok(Self { row, run, user, settled: false })
    }

    /// Puts other arguments in their place; says whether they are other ones.
    async fn edit(
        &mut self,
        tx: &mut TenantTx,
        caller: &Caller<RunsWrite>,
        edit: Option<Edit>,
    ) -> Result<bool, Problem> {
        let Some(Edit { arguments, more }) = edit else { return Ok(false) };
        let binding = self.row.subject.binding(&arguments);
        if binding.as_slice() == self.row.binding {
            return Ok(false);
        }
        let fits = check_arguments(&self.row.parameters, &arguments.to_string());
        fits.map_err(|why| Problem::validation(vec![FieldError::new("/arguments", why)]))?;
        let policy = self.row.policy.0.clone().stricter(more);
        if let Some(why) = policy.refusal(self.user, caller.role, self.row.initiator_id) {
            return Err(Error::NotAVoter(why).into());
        }
        let id = self.row.approval_id;
        approval::edit(tx, id, (&arguments, &binding), &policy).await?;
        self.row = approval::find(tx, id).await?.ok_or(Error::ApprovalNotFound(id))?;
        Ok(true)
    }

    async fn vote(
        &self,
        tx: &mut TenantTx,
        caller: &Caller<RunsWrite>,
        kind: &'static str,
        sticky: bool,
        comment: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        let key = match caller.actor {
            Actor::User { key, .. } => key,
            Actor::Service { .. } => None,
        };
        let vote = NewVote { user: self.user, key, kind, sticky, comment };
        approval::vote(tx, self.row.approval_id, &vote).await
    }

    /// It is decided: the run is told.
    async fn settle(
        &mut self,
        tx: &mut TenantTx,
        approved: bool,
        (sticky, reason): (bool, Option<&str>),
    ) -> Result<(), Error> {
        let Row { approval_id, run_id, call_key, tool_name, .. } = &self.row;
        let status = if approved { "approved" } else { "rejected" };
        approval::settle(tx, *approval_id, status, (sticky, reason)).await?;
        let told = Signal::Decided { call_id: call_key.clone(), approval_id: approval_id.uuid() };
        signal::insert(tx, *run_id, &told).await?;
        queue::wake(tx, *run_id).await?;
        let event = ApprovalDecided {
            run: self.run.reference(),
            approval_id: *approval_id,
            tool_name: tool_name.clone(),
            approved,
            by: self.user,
        };
        pubsub::emit(tx, &event).await?;
        self.settled = true;
        Ok(())
    }

    async fn answer(
        self,
        app: &App,
        mut tx: TenantTx,
        caller: &Caller<RunsWrite>,
    ) -> Result<Json<Approval>, Problem> {
        let id = self.row.approval_id;
        let row = approval::find(&mut tx, id).await?.ok_or(Error::ApprovalNotFound(id))?;
        tx.commit().await?;
        if self.settled {
            app.announce_with(&[row.run_id]).await;
        }
        Ok(Json(Approval::new(row, caller)))
    }
}
