//! New triggers: the seed's route for one agent, and the general form.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::{Body, Caller, Created, FieldError, Once, Path, Problem, scope};
use shared_models::{AgentId, CredentialId, ProblemBody, TriggerId};
use utoipa::ToSchema;

use crate::{
    app::App,
    clients::engine::Agent,
    error::Error,
    flow::Flow,
    options::TriggerOptions,
    save::{self, Ready, Wish},
    store,
    trigger::{Respond, System, TargetRef, Trigger},
    viewer::Viewer,
};

/// A trigger to make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({ "system": "webhook", "agent_id": "agt_01900000000070008000000000000000", "filter": "payload.action == 'opened'" }),
    json!({ "system": "timer", "agent_id": "agt_01900000000070008000000000000000",
        "options": { "cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin", "payload": { "task": "report" } } }),
    json!({ "system": "timer", "agent_id": "agt_01900000000070008000000000000000",
        "options": { "interval_seconds": 900, "jitter_seconds": 60, "misfire": "skip" } })
))]
pub(crate) struct NewTrigger {
    /// The kind of source.
    #[schema(value_type = System)]
    pub system: String,
    /// What people call it.
    #[serde(default)]
    pub name: Option<String>,
    /// The agent to start; short for a `target` of kind `agent`.
    #[serde(default)]
    pub agent_id: Option<AgentId>,
    /// What to start.
    #[serde(default)]
    pub target: Option<TargetRef>,
    /// The credential deliveries are verified with. Without one a signing secret is made and answered once.
    #[serde(default)]
    pub credential_id: Option<CredentialId>,
    /// How the source is listened to, as its system has it.
    #[serde(default = "no_options")]
    #[schema(value_type = TriggerOptions)]
    pub options: Value,
    /// A CEL expression over `payload`, `headers` and `system`; only what passes fires.
    #[serde(default)]
    pub filter: Option<String>,
    /// What the agent is given in place of what was received: a text or any JSON, with CEL expressions over `payload`,
    /// `headers` and `system` in double braces. A text that is one expression gives what that gives, of whatever kind.
    #[serde(default)]
    #[schema(value_type = Option<Object>, example = json!("Answer {{payload.sender}}: {{payload.text}}"))]
    pub input: Option<Value>,
    /// How fast it fires and what is fired together; as fast as deliveries come unless said.
    #[serde(default)]
    pub flow: Option<Flow>,
    /// What a sender at a hook is answered: `async`, that the delivery was stored, or `result`, what the run came to.
    #[serde(default)]
    pub respond: Option<Respond>,
    /// How long a sender waits for the result at most: 1 to 60, 25 unless said.
    #[serde(default)]
    pub respond_seconds: Option<u32>,
    /// Whether it fires.
    #[serde(default = "yes")]
    pub active: bool,
    /// Whether deliveries are held back until it is not.
    #[serde(default)]
    pub paused: bool,
}

fn no_options() -> Value {
    json!({})
}

const fn yes() -> bool {
    true
}

/// A trigger that was made or changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SavedTrigger {
    #[serde(flatten)]
    pub trigger: Trigger,
    /// The signing secret, when one was made: shown now and never again, also not to a repeated request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
}

/// Create a trigger for an agent.
///
/// The agent must be the caller's to see and the credential theirs to use.
#[utoipa::path(post, path = "/agent/{agent_id}/trigger", tag = "triggers", security(("token" = ["triggers:write"])),
    params(("agent_id" = AgentId, Path)), request_body = NewTrigger,
    responses((status = 201, body = SavedTrigger), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_agent_trigger(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    once: Once,
    Path(agent): Path<AgentId>,
    Body(mut new): Body<NewTrigger>,
) -> Result<Response, Problem> {
    if save::agent(&app, &caller, agent).await?.is_none() {
        return Err(Problem::not_found(format!("agent {agent}")));
    }
    if new.agent_id.is_some_and(|said| said != agent) || new.target.is_some() {
        return Err(Problem::validation(vec![FieldError::new(
            "/agent_id",
            "the path names the agent",
        )]));
    }
    new.agent_id = Some(agent);
    create(&app, &caller, once, new).await
}

/// Create a trigger.
#[utoipa::path(post, path = "/v1/triggers", tag = "triggers", security(("token" = ["triggers:write"])),
    request_body = NewTrigger,
    responses((status = 201, body = SavedTrigger), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_trigger(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    once: Once,
    Body(new): Body<NewTrigger>,
) -> Result<Response, Problem> {
    create(&app, &caller, once, new).await
}

async fn create(
    app: &App,
    caller: &Caller<scope::TriggersWrite>,
    mut once: Once,
    new: NewTrigger,
) -> Result<Response, Problem> {
    let owner = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, caller, &new).await? {
        return Ok(stored);
    }
    // Ended here and now, not when the connection is next used: the key is begun again below.
    tx.commit().await?;
    let id = TriggerId::mint();
    let checked = save::check(wish(&new)?, None, app.clock.now())?;
    let agent = match checked.agent {
        Some(agent) => {
            let found = save::agent(app, caller, agent).await?;
            found.ok_or_else(|| no_agent(&new))?
        }
        None => Agent::none(),
    };
    let ready = save::prepare(app, caller, (id, owner), None, checked, &agent).await?;

    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, caller, &new).await? {
        return Ok(stored);
    }
    let source = save::source(&mut tx, id, None, &ready).await?;
    store::trigger::insert(&mut tx, id, source, &new.system, owner, &ready.saved).await?;
    save::timer(&mut tx, id, None, &ready).await?;
    save::listen(&mut tx, source, None, &ready).await?;
    let made = store::trigger::find(&mut tx, &Viewer::of(caller), id).await?;
    let trigger = Trigger::from(made.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?);
    once.remember(&mut tx, StatusCode::CREATED, &trigger).await?;
    tx.commit().await?;
    app.hooks.forget();
    app.timers.notify_one();
    app.listeners.notify_waiters();

    Ok(Created(answer(trigger, &ready)).into_response())
}

pub(crate) fn answer(trigger: Trigger, ready: &Ready) -> SavedTrigger {
    let signing_secret = ready.signing_secret.as_ref();
    SavedTrigger { trigger, signing_secret: signing_secret.map(|s| s.expose_secret().to_owned()) }
}

fn wish(new: &NewTrigger) -> Result<Wish, Error> {
    let mut errors = Vec::new();
    let system = new.system.parse::<System>();
    if let Err(unknown) = &system {
        errors.push(FieldError::new("/system", unknown.to_string()));
    }
    if new.agent_id.is_some() && new.target.is_some() {
        errors.push(FieldError::new("/target", "say agent_id or target, not both"));
    }
    let (Ok(system), true) = (system, errors.is_empty()) else {
        return Err(Error::Invalid(errors));
    };
    Ok(Wish {
        system,
        name: new.name.clone(),
        target: new.target.clone().or(new.agent_id.map(TargetRef::agent)),
        credential_id: new.credential_id,
        options: new.options.clone(),
        filter: new.filter.clone(),
        input: new.input.clone(),
        flow: new.flow.clone(),
        respond: new.respond,
        respond_seconds: new.respond_seconds,
        active: new.active,
        paused: new.paused,
    })
}

fn no_agent(new: &NewTrigger) -> Error {
    let pointer = if new.target.is_some() { "/target/id" } else { "/agent_id" };
    Error::Invalid(vec![FieldError::new(pointer, "there is no such agent or swarm")])
}
