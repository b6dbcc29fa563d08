//! The gate before a call: whether people are asked about it, and what they have said.
//!
//! Invariant: a call that people are asked about is only made when the hash of what is about to be executed is the one that
//! they approved of. It is computed anew right before the call is intended, from what would be sent.

use agentcore::{Answer, ToolCall};
use serde_json::Value;
use shared_models::events::approval::ApprovalRequested;
use shared_models::{ApprovalId, UserId, WaitReason};
use sqlx::types::Uuid;

use super::{Cx, Run, tools};
use crate::approvals::binding::Subject;
use crate::approvals::{self, Call, Policy, Rule};
use crate::error::Error;
use crate::record::Record;
use crate::snapshot::SnapshotTool;
use crate::store::approval::{self, NewApproval, Row, Vote};
use crate::store::signal::Signal;
use crate::transcript::{Approved, Waited};

/// What becomes of a call.
pub(super) enum Gate {
    /// It may be made, with these arguments.
    Open(Value),
    /// People are asked.
    Asked,
    /// They do not want it.
    Refused(Answer),
}

/// What people have decided, or time has.
#[derive(Debug)]
pub(super) struct Decision {
    approval_id: ApprovalId,
    key: String,
    approved: bool,
    binding: String,
    /// When they differ from what the model wrote.
    arguments: Option<Value>,
    by: Vec<UserId>,
    reason: Option<String>,
}

/// Asks about a call, if people are to be asked and have not been.
pub(super) async fn gate(
    cx: &Cx<'_>,
    run: &mut Run,
    (call, tool): (&ToolCall, &SnapshotTool),
    arguments: Value,
) -> Result<Gate, Error> {
    let rules = rules(cx, tool);
    if rules.is_empty() {
        return Ok(Gate::Open(arguments));
    }
    let subject = subject(cx, call, tool);
    if let Some(approved) = run.approved.get(&call.id) {
        let sent = approved.arguments.as_ref().unwrap_or(&arguments);
        if hex::encode(subject.binding(sent)) == approved.binding {
            return Ok(Gate::Open(sent.clone()));
        }
        tracing::warn!(
            tool = tool.name,
            "what was approved of is not what would be executed: people are asked again"
        );
    }
    let seen = Call {
        tool: &tool.name,
        agent: &cx.snapshot.agent_name,
        effect: tool.effect.as_str(),
        arguments: &arguments,
    };
    let Some(policy) = approvals::policy(&rules, seen).await else {
        return Ok(Gate::Open(arguments));
    };
    ask(cx, run, (call, tool), arguments, (subject, rules, policy)).await
}

/// The tool's own rule, and its agent's.
fn rules(cx: &Cx<'_>, tool: &SnapshotTool) -> Vec<Rule> {
    tool.approval.iter().chain(&cx.snapshot.approvals).cloned().collect()
}

fn subject(cx: &Cx<'_>, call: &ToolCall, tool: &SnapshotTool) -> Subject {
    Subject::of(cx.claimed.run, cx.journal.key(&call.id), &cx.snapshot, tool)
}

async fn ask(
    cx: &Cx<'_>,
    run: &mut Run,
    (call, tool): (&ToolCall, &SnapshotTool),
    arguments: Value,
    (subject, rules, policy): (Subject, Vec<Rule>, Policy),
) -> Result<Gate, Error> {
    let binding = subject.binding(&arguments);
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    if let Some(sticky) =
        approval::sticky(&mut tx, cx.claimed.run, &subject.scope(), &policy).await?
    {
        let votes = approval::votes(&mut tx, sticky.approval_id).await?;
        drop(tx);
        let decision = Decision {
            approval_id: sticky.approval_id,
            key: cx.journal.key(&call.id),
            approved: sticky.approved,
            binding: hex::encode(binding),
            arguments: None,
            by: by(&votes, sticky.revision, sticky.approved),
            reason: sticky.reason,
        };
        return Ok(match settle(cx, run, call, decision) {
            None => Gate::Open(arguments),
            Some(answer) => Gate::Refused(answer),
        });
    }
    let asked = NewApproval {
        approval_id: id_of(cx, call, &binding),
        run: cx.claimed.run,
        agent: cx.snapshot.agent_id,
        key: cx.journal.key(&call.id),
        tool_name: tool.name.clone(),
        subject,
        arguments,
        parameters: tool.parameters.clone(),
        rules,
        policy,
    };
    let row = approval::request(&mut tx, &asked).await?;
    let votes = approval::votes(&mut tx, row.approval_id).await?;
    tx.commit().await?;
    note_request(cx, run, call, (&asked, &row, binding))?;
    // A process before us may have asked and not said so any more, and they may have decided since.
    if !row.is_open() {
        decided(cx, run, Decision::of(row, &votes))?;
    }
    Ok(Gate::Asked)
}

/// The same for every time that this is asked about this call.
fn id_of(cx: &Cx<'_>, call: &ToolCall, binding: &[u8; 32]) -> ApprovalId {
    let name = format!("approval {} {}", cx.journal.key(&call.id), hex::encode(binding));
    Uuid::new_v5(&cx.claimed.run.uuid(), name.as_bytes()).into()
}

fn note_request(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    (asked, row, binding): (&NewApproval, &Row, [u8; 32]),
) -> Result<(), Error> {
    let approval_id = row.approval_id;
    cx.journal.note(Record::ApprovalRequested {
        call_id: call.id.clone(),
        tool_name: call.name.clone(),
        approval_id,
        binding: hex::encode(binding),
    });
    let event = ApprovalRequested {
        run: cx.claimed.reference(),
        approval_id,
        tool_name: asked.tool_name.clone(),
        expires_at: row.expires_at,
    };
    cx.journal.emit(&event).map_err(anyhow::Error::from)?;
    let waited = Waited { approval: Some(approval_id), ..Waited::of(WaitReason::Approval) };
    run.waiting.insert(call.id.clone(), waited);
    metrics::counter!("engine_approvals_requested_total").increment(1);
    Ok(())
}

/// What the approval that a signal is about has come to; none for other signals.
pub(super) async fn look_up(cx: &Cx<'_>, signal: &Signal) -> Result<Option<Decision>, Error> {
    let Signal::Decided { approval_id, .. } = signal else { return Ok(None) };
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let Some(row) = approval::find(&mut tx, (*approval_id).into()).await? else { return Ok(None) };
    if row.is_open() {
        return Ok(None);
    }
    let votes = approval::votes(&mut tx, row.approval_id).await?;
    Ok(Some(Decision::of(row, &votes)))
}

/// Takes in a decision. One that nobody waits for any more changes nothing.
pub(super) fn decided(cx: &Cx<'_>, run: &mut Run, mut decision: Decision) -> Result<(), Error> {
    let call =
        run.state.unanswered().find(|call| cx.journal.key(&call.id) == decision.key).cloned();
    let waits = |call: &ToolCall| {
        run.waiting.get(&call.id).and_then(|waited| waited.approval) == Some(decision.approval_id)
    };
    let Some(call) = call.filter(waits) else { return Ok(()) };
    run.waiting.remove(&call.id);
    if decision.approved && !is_bound(cx, &call, &decision) {
        tracing::error!(approval.id = %decision.approval_id, "an approval's row says something else than was voted on");
        (decision.approved, decision.arguments) = (false, None);
        decision.reason = Some("what was approved of is not what would be executed".into());
    }
    match settle(cx, run, &call, decision) {
        None => Ok(()),
        Some(answer) => tools::refuse(cx, run, &call, answer),
    }
}

/// Whether the hash that people voted on is that of what would be sent.
fn is_bound(cx: &Cx<'_>, call: &ToolCall, decision: &Decision) -> bool {
    let Some(place) = cx.snapshot.tools.iter().position(|tool| tool.name == call.name) else {
        return false;
    };
    let written = cx.snapshot.arguments(place, &call.arguments).ok();
    let sent = decision.arguments.as_ref().or(written.as_ref());
    let tool = cx.snapshot.tools.get(place);
    tool.zip(sent).is_some_and(|(tool, sent)| {
        hex::encode(subject(cx, call, tool).binding(sent)) == decision.binding
    })
}

/// Writes a decision down. A refusal is what the model is told.
fn settle(cx: &Cx<'_>, run: &mut Run, call: &ToolCall, decision: Decision) -> Option<Answer> {
    let Decision { approval_id, approved, binding, arguments, by, reason, .. } = decision;
    let refusal = (!approved).then(|| {
        let said = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        Answer::error(format!("The call was not approved, so it was not made{said}"))
    });
    cx.journal.note(Record::ApprovalDecided {
        call_id: call.id.clone(),
        tool_name: call.name.clone(),
        approval_id,
        approved,
        binding: binding.clone(),
        arguments: arguments.clone(),
        by,
        reason,
    });
    if approved {
        run.approved.insert(call.id.clone(), Approved { binding, arguments });
    }
    refusal
}

/// Whose votes have decided.
fn by(votes: &[Vote], revision: i32, approved: bool) -> Vec<UserId> {
    let kinds: &[&str] = if approved { &["approve", "edit"] } else { &["reject"] };
    let counted = votes
        .iter()
        .filter(|vote| vote.revision == revision && kinds.contains(&vote.kind.as_str()));
    counted.map(|vote| vote.user_id).collect()
}

impl Decision {
    fn of(row: Row, votes: &[Vote]) -> Self {
        let approved = row.status == "approved";
        let by = by(votes, row.revision, approved);
        let reason = match row.status.as_str() {
            "expired" => Some("nobody decided about it in time".to_owned()),
            _ => row.reason,
        };
        let sent = row.arguments.map(|arguments| arguments.0);
        let asked = row.asked.map(|asked| asked.0);
        Self {
            approval_id: row.approval_id,
            key: row.call_key,
            approved,
            binding: hex::encode(&row.binding),
            arguments: sent.filter(|sent| asked.as_ref() != Some(sent)),
            by,
            reason: reason.filter(|_| !approved),
        }
    }
}
