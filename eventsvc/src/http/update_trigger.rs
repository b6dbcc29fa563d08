//! Edits: JSON Merge Patch on what a person may say about a trigger.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::{
    Body, Caller, FieldError, IfMatch, Path, Problem, codes, etag, merge_patch, scope,
};
use shared_models::{AgentId, CredentialId, ProblemBody, TriggerId};
use utoipa::ToSchema;

use super::create_trigger::{SavedTrigger, answer};
use crate::{
    app::App,
    clients::engine::Agent,
    error::Error,
    flow::Flow,
    options::TriggerOptions,
    save::{self, Ready, Wish},
    store::{self, trigger as stored},
    trigger::{Respond, Started, TargetRef, Trigger, target},
    viewer::Viewer,
};

/// What may be changed. In a patch, absent stays as it is and `null` removes. Removing the credential of a scheme that
/// needs one makes a new signing secret, answered once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TriggerPatch {
    /// What people call it.
    #[serde(default)]
    name: Option<String>,
    /// What to start; in a patch `agent_id` is short for a target of kind `agent`.
    #[serde(default)]
    target: Option<TargetRef>,
    /// The credential deliveries are verified with.
    #[serde(default)]
    credential_id: Option<CredentialId>,
    /// How the source is listened to, as its system has it. A timer that was given another schedule goes by it from now.
    #[serde(default)]
    #[schema(value_type = TriggerOptions)]
    options: Value,
    /// A CEL expression over `payload`, `headers` and `system`.
    #[serde(default)]
    filter: Option<String>,
    /// What the agent is given in place of what was received: a text or any JSON, with CEL expressions over `payload`,
    /// `headers` and `system` in double braces. A text that is one expression gives what that gives, of whatever kind.
    #[serde(default)]
    #[schema(value_type = Option<Object>, example = json!("Answer {{payload.sender}}: {{payload.text}}"))]
    input: Option<Value>,
    /// How fast it fires and what is fired together; as fast as deliveries come unless said.
    #[serde(default)]
    flow: Option<Flow>,
    /// What a sender at a hook is answered: `async`, that the delivery was stored, or `result`, what the run came to.
    #[serde(default)]
    respond: Option<Respond>,
    /// How long a sender waits for the result at most: 1 to 60, 25 unless said.
    #[serde(default)]
    respond_seconds: Option<u32>,
    /// Whether it fires.
    active: bool,
    /// Whether deliveries are held back until it is not.
    paused: bool,
}

/// Change a trigger of an agent.
#[utoipa::path(patch, path = "/agent/{agent_id}/triggers/{trigger_id}", tag = "triggers",
    security(("token" = ["triggers:write"])),
    params(("agent_id" = AgentId, Path), ("trigger_id" = TriggerId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = TriggerPatch, content_type = "application/merge-patch+json"),
    responses((status = 200, body = SavedTrigger), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_agent_trigger(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    Path((agent, id)): Path<(AgentId, TriggerId)>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Response, Problem> {
    update(&app, &caller, (id, Some(agent)), &if_match, patch).await
}

/// Change a trigger.
#[utoipa::path(patch, path = "/v1/triggers/{trigger_id}", tag = "triggers", security(("token" = ["triggers:write"])),
    params(("trigger_id" = TriggerId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = TriggerPatch, content_type = "application/merge-patch+json"),
    responses((status = 200, body = SavedTrigger), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_trigger(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    Path(id): Path<TriggerId>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Response, Problem> {
    update(&app, &caller, (id, None), &if_match, patch).await
}

async fn update(
    app: &App,
    caller: &Caller<scope::TriggersWrite>,
    (id, of): (TriggerId, Option<AgentId>),
    if_match: &IfMatch,
    patch: Value,
) -> Result<Response, Problem> {
    let viewer = Viewer::of(caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = store::trigger::find(&mut tx, &viewer, id).await?;
    let row = row.filter(|row| of.is_none_or(|agent| row.target_id == Some(agent.uuid())));
    let row = row.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?;
    drop(tx);
    may_change(&viewer, &row)?;
    if_match.check(row.version)?;
    let mut ready = patched(app, caller, &row, patch).await?;
    let kept = row.own_credential_id.filter(|own| ready.saved.credential_id == Some(*own));
    ready.saved.own_credential_id = ready.saved.own_credential_id.or(kept);

    let mut tx = app.db.begin(caller.tenant).await?;
    let source = save::source(&mut tx, id, Some(row.source_id), &ready).await?;
    if !store::trigger::update(&mut tx, id, row.version, source, &ready.saved).await? {
        return Err(Problem::new(
            &codes::CONFLICT,
            "the trigger was changed at the same moment; read it again",
        ));
    }
    save::timer(&mut tx, id, Some(&row), &ready).await?;
    save::listen(&mut tx, source, Some(&row), &ready).await?;
    let unused = save::unused(&mut tx, row.own_credential_id.filter(|_| kept.is_none())).await?;
    let changed = store::trigger::find(&mut tx, &viewer, id).await?;
    let trigger = Trigger::from(changed.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?);
    tx.commit().await?;
    app.hooks.forget();
    app.timers.notify_one();
    app.listeners.notify_waiters();
    if let Some(credential) = row.credential_id {
        app.secrets.forget(credential, id).await;
    }
    app.bell.notify_one();
    if let Some(own) = unused {
        save::discard(app, caller, id, own).await;
    }

    let tag = HeaderValue::from_str(&etag(trigger.version)).map_err(Problem::internal)?;
    Ok(([(header::ETAG, tag)], Json(answer(trigger, &ready))).into_response())
}

/// Only those who may change it get past this; others see it at most.
pub(crate) fn may_change(viewer: &Viewer, row: &stored::Trigger) -> Result<(), Error> {
    if viewer.admin || viewer.user == Some(row.owner_id) { Ok(()) } else { Err(Error::NotOwner) }
}

async fn patched(
    app: &App,
    caller: &Caller<scope::TriggersWrite>,
    row: &stored::Trigger,
    patch: Value,
) -> Result<Ready, Problem> {
    let present = TriggerPatch {
        name: row.name.clone(),
        target: Some(target(row)),
        credential_id: row.credential_id,
        options: row.options.clone(),
        filter: row.filter.clone(),
        input: row.input.clone(),
        flow: row.flow.clone().and_then(|flow| serde_json::from_value(flow).ok()),
        respond: Some(if row.respond_seconds.is_some() { Respond::Result } else { Respond::Async }),
        respond_seconds: row.respond_seconds.map(i32::cast_unsigned),
        active: row.active,
        paused: row.paused,
    };
    let edited: TriggerPatch = merge_patch(&present, &with_target(patch)?)?;
    let wish = Wish {
        system: row.system.parse().map_err(Problem::internal)?,
        name: edited.name,
        target: edited.target,
        credential_id: edited.credential_id,
        options: if edited.options.is_null() { json!({}) } else { edited.options },
        filter: edited.filter,
        input: edited.input,
        flow: edited.flow,
        respond: edited.respond,
        respond_seconds: edited.respond_seconds.filter(|_| edited.respond != Some(Respond::Async)),
        active: edited.active,
        paused: edited.paused,
    };
    let checked = save::check(wish, Some(&row.options), app.clock.now())?;
    let agent = match checked.agent {
        Some(id) => agent(app, caller, row, id).await?,
        None => Agent::none(),
    };
    let whose = (row.trigger_id, row.owner_id);
    Ok(save::prepare(app, caller, whose, row.credential_id, checked, &agent).await?)
}

/// The agent. A trigger stays with one that is gone or cannot be asked about: it must still be possible to stop it.
async fn agent(
    app: &App,
    caller: &Caller<scope::TriggersWrite>,
    row: &stored::Trigger,
    id: Started,
) -> Result<Agent, Error> {
    let present = || {
        let same = row.target_id == Some(id.uuid());
        same.then(|| Agent { scope: row.scope.clone(), team_id: row.team_id })
    };
    match save::agent(app, caller, id).await {
        Ok(Some(agent)) => Ok(agent),
        Ok(None) => present().ok_or_else(|| {
            Error::Invalid(vec![FieldError::new("/target/id", "there is no such agent or swarm")])
        }),
        Err(error @ Error::Unavailable(_)) => present().ok_or(error),
        Err(error) => Err(error),
    }
}

/// `agent_id` in a patch is a target.
fn with_target(mut patch: Value) -> Result<Value, Problem> {
    let Some(fields) = patch.as_object_mut() else { return Ok(patch) };
    let Some(agent) = fields.remove("agent_id") else { return Ok(patch) };
    if fields.contains_key("target") {
        let error = FieldError::new("/target", "say agent_id or target, not both");
        return Err(Problem::validation(vec![error]));
    }
    fields.insert("target".into(), json!({ "kind": "agent", "id": agent }));
    Ok(patch)
}
