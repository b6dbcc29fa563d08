//! What people say when they start a run, and the agent that they mean.

use std::sync::Arc;
use std::time::Duration;

use agentcore::{Block, Content, Message};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::{FieldError, Problem};
use shared_models::{
    AgentId, AgentStatus, ConversationId, RunId, SwarmId, TenantId, UserId, WhenBusy,
};
use utoipa::ToSchema;

use crate::app::App;
use crate::catalogue::{self, Pinned, Which};
use crate::create::NewRun;
use crate::definition::Budget;
use crate::error::Error;
use crate::http::conversations::check_end_user;
use crate::snapshot::RunSnapshot;
use crate::store;
use crate::swarm::plan;
use crate::template::{self, Variables};
use crate::visibility::Viewer;

/// A run to start.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRun {
    /// Which agent; or name it with `agent`. A conversation has one already.
    #[serde(default)]
    agent_id: Option<AgentId>,
    /// The agent's name.
    #[serde(default)]
    agent: Option<String>,
    /// A swarm instead of an agent; or name it with `swarm`.
    #[serde(default)]
    swarm_id: Option<SwarmId>,
    /// The swarm's name.
    #[serde(default)]
    swarm: Option<String>,
    /// What is said to the agent: a text, a list of content blocks, or any other JSON, which it reads as text.
    input: Value,
    /// The conversation it is a part of: the agent is told what was said there before.
    #[serde(default)]
    pub(super) conversation_id: Option<ConversationId>,
    /// What becomes of it when a run of the conversation is under way: `enqueue` unless said.
    #[serde(default)]
    pub(super) when_busy: Option<WhenBusy>,
    /// The person you act for, as you name them: what the agent remembers about end users is kept under this name.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    pub(super) end_user_id: Option<String>,
    /// Stand in the instructions for `{{ variables.<name> }}`: 64 at most, 64 KiB altogether.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    variables: Variables,
    /// How long it may take, instead of the agent's own limit.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2_678_400)]
    deadline_seconds: Option<u32>,
    /// What it may use up, with all that work for it: of this and what its agent says the tighter limits hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<Budget>,
    /// Answer when the run has ended or waits, at the latest after so many seconds.
    #[serde(default)]
    #[schema(maximum = 60)]
    wait: Option<u32>,
}

impl StartRun {
    pub(super) fn check(&self) -> Result<(), Problem> {
        let mut errors = Vec::new();
        let (id, name) = (self.agent_id.is_some(), self.agent.is_some());
        if self.is_of_swarm() {
            if id || name || (self.swarm_id.is_some() && self.swarm.is_some()) {
                errors.push(FieldError::new("/swarm_id", "say one agent or one swarm, once"));
            }
            if self.conversation_id.is_some() {
                let why = "a conversation is held with an agent";
                errors.push(FieldError::new("/conversation_id", why));
            }
            if self.swarm.as_ref().is_some_and(|name| name.contains('\0')) {
                errors.push(FieldError::new("/swarm", "must not contain U+0000"));
            }
        } else if (id && name) || (!id && !name && self.conversation_id.is_none()) {
            let why = "say one of `agent_id`, `agent`, `swarm_id` and `swarm`";
            errors.push(FieldError::new("/agent_id", why));
        }
        if self.when_busy.is_some() && self.conversation_id.is_none() {
            errors.push(FieldError::new("/when_busy", "only in a conversation"));
        }
        errors.extend(check_end_user(self.end_user_id.as_deref()));
        errors.extend(template::check_variables(&self.variables));
        errors.extend(self.budget.iter().flat_map(|budget| budget.check("/budget")));
        if self.input.is_null() || self.input.as_str().is_some_and(str::is_empty) {
            errors.push(FieldError::new("/input", "must not be empty"));
        }
        if self.deadline_seconds.is_some_and(|seconds| !(1..=2_678_400).contains(&seconds)) {
            errors.push(FieldError::new("/deadline_seconds", "from 1 second to 31 days"));
        }
        if self.wait.is_some_and(|seconds| seconds > 60) {
            errors.push(FieldError::new("/wait", "at most 60 seconds"));
        }
        if errors.is_empty() { Ok(()) } else { Err(Problem::validation(errors)) }
    }

    /// Whether it is for a certain person, a part of a conversation, or has limits of its own.
    pub(super) fn is_personal(&self) -> bool {
        self.conversation_id.is_some() || self.end_user_id.is_some() || self.budget.is_some()
    }

    pub(super) fn is_of_swarm(&self) -> bool {
        self.swarm_id.is_some() || self.swarm.is_some()
    }

    pub(super) fn when_busy(&self) -> WhenBusy {
        self.when_busy.unwrap_or(WhenBusy::Enqueue)
    }

    /// The same with what its conversation says about agent and person.
    pub(super) async fn in_conversation(
        mut self,
        tx: &mut TenantTx,
        viewer: &Viewer,
    ) -> Result<(Self, Option<ConversationId>), Error> {
        let Some(id) = self.conversation_id else { return Ok((self, None)) };
        let held = store::conversation::find_visible(tx, viewer, id).await?;
        let named = match &self.agent {
            Some(name) => store::run::agent_named(tx, name).await?,
            None => self.agent_id,
        };
        let mut errors = Vec::new();
        if (self.agent.is_some() || self.agent_id.is_some()) && named != Some(held.agent_id) {
            let field = if self.agent.is_some() { "/agent" } else { "/agent_id" };
            errors.push(FieldError::new(field, "the conversation is held with another agent"));
        }
        let someone_else = self.end_user_id.as_ref().zip(held.end_user_id.as_ref());
        if someone_else.is_some_and(|(said, known)| said != known) {
            errors.push(FieldError::new("/end_user_id", "the conversation is held with another"));
        }
        if !errors.is_empty() {
            return Err(Error::Invalid(errors));
        }
        (self.agent_id, self.agent) = (Some(held.agent_id), None);
        self.end_user_id = self.end_user_id.or(held.end_user_id);
        Ok((self, Some(id)))
    }

    pub(super) fn wait(&self) -> Option<u32> {
        self.wait.filter(|seconds| *seconds > 0)
    }

    pub(super) fn run(&self, run: RunId, initiator: UserId, principal: UserId) -> NewRun {
        NewRun {
            run,
            principal,
            initiator: Some(initiator),
            firing: None,
            input: self.message(),
            traceparent: servicekit::trace::outgoing(),
            deadline: self.deadline_seconds.map(|seconds| Duration::from_secs(seconds.into())),
            end_user: self.end_user_id.clone(),
            place: None,
            variables: self.variables.clone(),
            evaluation: None,
        }
    }

    pub(super) fn which(&self) -> Which {
        match (self.agent_id, &self.agent) {
            (Some(agent_id), _) => Which::Id(agent_id),
            (None, name) => Which::Name(name.clone().unwrap_or_default()),
        }
    }

    /// The agent, if the caller may see it and it may run. What is kept in memory may say no too early.
    pub(super) async fn agent(
        &self,
        app: &App,
        tenant: TenantId,
        viewer: &Viewer,
    ) -> Result<Arc<Pinned>, Error> {
        let which = self.which();
        let kept = app.catalogue.get(&app.db, tenant, &which).await?;
        if let Some(pinned) = kept.filter(|pinned| self.may(app, viewer, pinned).is_ok()) {
            return Ok(pinned);
        }
        let fresh = app.catalogue.fresh(&app.db, tenant, &which).await?;
        let pinned = fresh.ok_or_else(|| self.unknown())?;
        self.may(app, viewer, &pinned)?;
        Ok(pinned)
    }

    /// The same within a transaction.
    pub(super) async fn agent_now(
        &self,
        app: &App,
        tx: &mut TenantTx,
        viewer: &Viewer,
    ) -> Result<RunSnapshot, Error> {
        let read = if self.is_of_swarm() {
            self.swarm_now(tx, viewer).await?
        } else {
            catalogue::read(tx, &self.which()).await?
        };
        let mut snapshot = read.ok_or_else(|| self.unknown())?;
        if let Some(budget) = &self.budget {
            snapshot.budget = snapshot.budget.tighter(budget);
        }
        self.may(app, viewer, &snapshot)?;
        Ok(snapshot)
    }

    /// Who may not see a swarm does not learn what is wrong with it.
    async fn swarm_now(
        &self,
        tx: &mut TenantTx,
        viewer: &Viewer,
    ) -> Result<Option<RunSnapshot>, Error> {
        let named = match (self.swarm_id, &self.swarm) {
            (Some(id), _) => Some(id),
            (None, Some(name)) => store::swarm::named(tx, name).await?,
            (None, None) => None,
        };
        let Some(id) = named else { return Ok(None) };
        let swarm = store::swarm::find_visible(tx, viewer, id).await.map_err(|_| self.unknown())?;
        if swarm.fields.status != AgentStatus::Active {
            return Err(Error::SwarmNotActive(swarm.fields.status.to_string()));
        }
        plan::build(tx, id).await
    }

    fn may(&self, app: &App, viewer: &Viewer, snapshot: &RunSnapshot) -> Result<(), Error> {
        if !viewer.sees(snapshot.scope, snapshot.owner, snapshot.team_id) {
            return Err(self.unknown());
        }
        match snapshot.status {
            AgentStatus::Active => snapshot.check_models(&app.models),
            status => Err(Error::AgentNotActive(status.to_string())),
        }
    }

    fn unknown(&self) -> Error {
        match (self.agent_id, self.swarm_id, &self.swarm) {
            (Some(agent_id), ..) => Error::AgentNotFound(agent_id),
            (None, Some(swarm_id), _) => Error::SwarmNotFound(swarm_id),
            (None, None, Some(name)) => Error::SwarmNameNotFound(name.clone()),
            (None, None, None) => Error::AgentNameNotFound(self.agent.clone().unwrap_or_default()),
        }
    }

    fn message(&self) -> Message {
        message(&self.input)
    }
}

/// What is said to an agent: a text, content blocks, or any other JSON as text.
pub(super) fn message(input: &Value) -> Message {
    if let Value::String(text) = input {
        return Message::user(text);
    }
    match serde_json::from_value::<Vec<Block>>(input.clone()) {
        Ok(blocks) if !blocks.is_empty() => Message::User { content: Content::Blocks(blocks) },
        _ => Message::user(input.to_string()),
    }
}
