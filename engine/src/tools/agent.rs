//! A tool that is another agent, or a swarm: a run of its own, whose output is the call's answer.
//!
//! The child run has the same id for every attempt at the call, so whoever repeats it finds the run that is there. It
//! stands under the same root, ends with the same deadline and is cancelled with the run it works for.

use std::time::Duration;

use agentcore::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::FieldError;
use shared_models::{AgentId, AgentScope, AgentStatus, RunId, SwarmId};
use sqlx::types::Uuid;
use utoipa::ToSchema;

use super::ToolFields;
use crate::{
    app::App,
    committer::printable,
    create::{self, NewRun, Parent},
    error::Error,
    snapshot::{self, RunSnapshot, SnapshotTool},
    store::child,
    swarm::plan,
    template,
    toolbox::{CallCx, Outcome, Waiting},
};

/// Runs that work for runs that work for runs: deeper than this, somebody is going round in circles.
const DEEPEST: i32 = 8;

/// Which agent, or which swarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent_id: Option<AgentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) swarm_id: Option<SwarmId>,
}

/// Who is given the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Agent(AgentId),
    Swarm(SwarmId),
}

impl AgentConfig {
    pub(crate) fn target(&self) -> Result<Target, FieldError> {
        match (self.agent_id, self.swarm_id) {
            (Some(agent), None) => Ok(Target::Agent(agent)),
            (None, Some(swarm)) => Ok(Target::Swarm(swarm)),
            (Some(_), Some(_)) => {
                Err(FieldError::new("/config/swarm_id", "say `agent_id` or `swarm_id`, not both"))
            }
            (None, None) => {
                Err(FieldError::new("/config/agent_id", "say `agent_id` or `swarm_id`"))
            }
        }
    }

    pub(super) fn complete(fields: &mut ToolFields) {
        fields.parameters = json!({ "type": "object", "required": ["task"], "additionalProperties": false,
            "properties": { "task": { "type": "string", "minLength": 1,
                "description": "What to do. The agent knows nothing but this." } } });
        if fields.description.is_empty() {
            fields.description = "Gives a task to another agent and waits for its answer.".into();
        }
    }
}

/// Starts the child run, or finds it. What it ended with, if it has ended, is the answer.
pub(crate) async fn call(
    app: &App,
    cx: &CallCx,
    tool: &SnapshotTool,
    arguments: &Value,
) -> Outcome {
    let config: AgentConfig = match serde_json::from_value(tool.config.clone()) {
        Ok(config) => config,
        Err(error) => {
            return Outcome::Refused(format!("the tool's configuration is broken: {error}"));
        }
    };
    let target = match config.target() {
        Ok(target) => target,
        Err(error) => return Outcome::Refused(error.message),
    };
    match begin(app, cx, target, arguments).await {
        Ok(outcome) => outcome,
        Err(Error::AgentNotFound(_)) => Outcome::Refused("the agent is gone".into()),
        Err(Error::SwarmNotFound(_)) => Outcome::Refused("the swarm is gone".into()),
        Err(error @ Error::SwarmNotRunnable(_)) => Outcome::Refused(error.to_string()),
        Err(Error::Invalid(errors)) => Outcome::Refused(template::sentence(&errors)),
        Err(error) => {
            tracing::warn!(%error, "a child run could not be started");
            Outcome::Unknown("the agent could not be reached".into())
        }
    }
}

async fn begin(
    app: &App,
    cx: &CallCx,
    target: Target,
    arguments: &Value,
) -> Result<Outcome, Error> {
    let run = id_of(cx);
    let mut tx = app.db.begin(cx.tenant).await?;
    let above = child::place(&mut tx, cx.run).await?;
    if above.depth >= DEEPEST {
        return Ok(Outcome::Refused(format!(
            "{DEEPEST} agents are at work above this one already"
        )));
    }
    let mut snapshot = match target {
        Target::Agent(agent) => {
            snapshot::build(&mut tx, agent, None).await?.ok_or(Error::AgentNotFound(agent))?
        }
        Target::Swarm(swarm) => {
            plan::build(&mut tx, swarm).await?.ok_or(Error::SwarmNotFound(swarm))?
        }
    };
    if let Some(why) = refusal(cx, &snapshot) {
        return Ok(Outcome::Refused(why));
    }
    snapshot.above.clone_from(&cx.caps);
    let task = arguments.get("task").and_then(Value::as_str).unwrap_or_default();
    let new = NewRun {
        run,
        principal: above.principal,
        initiator: above.initiator,
        firing: None,
        input: Message::user(task),
        traceparent: None,
        // Both are told from the beginning of this transaction, so it is the same moment.
        deadline: Some(Duration::from_secs_f64(above.seconds_left)),
        end_user: above.end_user,
        place: None,
        variables: above.variables.map(|variables| variables.0).unwrap_or_default(),
        evaluation: above.evaluation,
    };
    let parent = Parent {
        root: above.root,
        run: cx.run,
        call_id: printable(&cx.call_id),
        depth: above.depth + 1,
    };
    // Whoever stops the run above stops those below it, too: this one is there by then, or is not made.
    if !child::hold_above(&mut tx, cx.run, app.worker).await? {
        return Ok(Outcome::Refused("not begun: this worker no longer owns the run".into()));
    }
    if !create::create_under(&mut tx, &app.runs, (&new, &snapshot), Some(&parent)).await?
        && let Some(end) = child::end(&mut tx, run).await?
    {
        let answer = end.answer();
        let told = if answer.error { Outcome::Failed } else { Outcome::Done };
        return Ok(told(answer.content));
    }
    tx.commit().await?;
    app.announce().await;
    Ok(Outcome::Waits(Waiting::Child(run)))
}

/// Who owns the agent that calls must be somebody who could start the other one.
fn refusal(cx: &CallCx, other: &RunSnapshot) -> Option<String> {
    let what = if other.swarm.is_some() { "swarm" } else { "agent" };
    if other.status != AgentStatus::Active {
        return Some(format!("the {what} is {}: it starts no runs", other.status.as_str()));
    }
    let shared = other.scope == AgentScope::Team || other.owner == cx.owner;
    (!shared).then(|| format!("the {what} belongs to somebody else"))
}

/// The same run for every attempt at this call.
fn id_of(cx: &CallCx) -> RunId {
    Uuid::new_v5(&cx.run.uuid(), format!("child {}", cx.call_id).as_bytes()).into()
}
