//! `POST /v1/conversations`

use axum::http::StatusCode;
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, Created, FieldError, Once, scope::RunsWrite};
use shared_models::{AgentId, ProblemBody};
use utoipa::ToSchema;

use super::{check_end_user, check_title};
use crate::app::App;
use crate::catalogue::{self, Which};
use crate::error::Error;
use crate::store::conversation::{self, Conversation, New};
use crate::visibility::Viewer;

/// A conversation to begin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConversation {
    /// With which agent; or name it with `agent`.
    #[serde(default)]
    agent_id: Option<AgentId>,
    /// The agent's name.
    #[serde(default)]
    agent: Option<String>,
    /// The person it is held with, as you name them: what the agent remembers about end users is kept under this name.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    end_user_id: Option<String>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500)]
    title: Option<String>,
}

/// Begin a conversation with an agent.
///
/// Runs with its id follow each other, one at a time, and are told what was said in those before.
#[utoipa::path(post, path = "/v1/conversations", tag = "conversations", request_body = NewConversation,
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["runs:write"])),
    responses((status = 201, body = Conversation), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_conversation(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    mut once: Once,
    Body(asked): Body<NewConversation>,
) -> Result<Response, Error> {
    let created_by = caller.person()?;
    asked.check()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &asked).await? {
        return Ok(stored);
    }
    let viewer = Viewer::of(&caller);
    let agent = catalogue::read(&mut tx, &asked.which()).await?;
    let agent = agent.filter(|agent| viewer.sees(agent.scope, agent.owner, agent.team_id));
    let agent = agent.ok_or_else(|| asked.unknown())?;
    let NewConversation { end_user_id, title, .. } = asked;
    let new = New { created_by, end_user_id, title };
    let made = conversation::insert(&mut tx, &agent, &new).await?;
    once.remember(&mut tx, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    Ok(Created(made).into_response())
}

impl NewConversation {
    fn check(&self) -> Result<(), Error> {
        let mut errors = Vec::new();
        if self.agent_id.is_some() == self.agent.is_some() {
            errors.push(FieldError::new("/agent_id", "say either `agent_id` or `agent`"));
        }
        errors.extend(check_end_user(self.end_user_id.as_deref()));
        errors.extend(check_title(self.title.as_deref()));
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }

    fn which(&self) -> Which {
        match (self.agent_id, &self.agent) {
            (Some(agent_id), _) => Which::Id(agent_id),
            (None, name) => Which::Name(name.clone().unwrap_or_default()),
        }
    }

    fn unknown(&self) -> Error {
        match (self.agent_id, &self.agent) {
            (Some(agent_id), _) => Error::AgentNotFound(agent_id),
            (None, name) => Error::AgentNameNotFound(name.clone().unwrap_or_default()),
        }
    }
}
