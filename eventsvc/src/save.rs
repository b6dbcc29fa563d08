//! Saving a trigger: what it says is checked, its agent looked up, its credential granted, its source found.
//!
//! Other services are asked before the transaction, never inside one. A save that fails afterwards leaves a grant of a
//! trigger that does not exist, which opens nothing.

mod credential;

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use secrecy::SecretString;
use serde_json::{Value, json};
use servicekit::{Caller, FieldError, PeerError};
use shared_models::{
    CredentialId, Service, SourceId, TriggerId, UserId, events::trigger::TargetKind,
};

use crate::{
    app::App,
    clients::engine::Agent,
    error::Error,
    filter::Filter,
    flow::Flow,
    input::Template,
    listening,
    options::TriggerOptions,
    store::{lease, source, trigger as stored, trigger::Saved},
    timer::{self, TimerOptions},
    trigger::{Respond, Started, System, TargetRef},
};

use credential::{check_address, check_app, check_heard, credential, grant, no_credential};
pub(crate) use credential::{discard, keep, make_secret, unused};

const LONGEST_NAME: usize = 200;
const RESPOND_USUALLY: u32 = 25;
const RESPOND_LONGEST: u32 = 60;

/// What a person says about a trigger, new or patched.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub system: System,
    pub name: Option<String>,
    pub target: Option<TargetRef>,
    pub credential_id: Option<CredentialId>,
    pub options: Value,
    pub filter: Option<String>,
    pub input: Option<Value>,
    pub flow: Option<Flow>,
    pub respond: Option<Respond>,
    pub respond_seconds: Option<u32>,
    pub active: bool,
    pub paused: bool,
}

/// A wish that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// None when the router picks.
    pub agent: Option<Started>,
    options: TriggerOptions,
    wish: Wish,
}

/// A trigger that can be stored.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub saved: Saved,
    system: System,
    /// A timer's schedule.
    timer: Option<TimerOptions>,
    pub options_key: String,
    /// The signing secret, when it was made just now: shown once.
    pub signing_secret: Option<SecretString>,
}

/// Checks everything that can be checked without asking anybody; names every refused field. `present` is what the
/// trigger's options are: a schedule that stays may have come to its end.
pub(crate) fn check(
    wish: Wish,
    present: Option<&Value>,
    now: DateTime<Utc>,
) -> Result<Checked, Error> {
    let mut errors = Vec::new();
    if wish.name.as_ref().is_some_and(|name| name.is_empty() || name.chars().count() > LONGEST_NAME)
    {
        errors.push(FieldError::new("/name", "must have 1 to 200 characters"));
    }
    if [&wish.name, &wish.filter].into_iter().flatten().any(|text| text.contains('\0')) {
        errors.push(FieldError::new("", "the character NUL (U+0000) cannot be stored"));
    }
    if let Some(Err(why)) = wish.filter.as_deref().map(Filter::compile) {
        errors.push(FieldError::new("/filter", why));
    }
    let agent = match wish.target.as_ref() {
        None => Err(FieldError::new("/agent_id", "name the agent")),
        Some(target) if target.is_route() => Ok(None),
        Some(target) => target.started().map(Some),
    };
    errors.extend(wish.flow.iter().flat_map(Flow::errors));
    errors.extend(wish.input.as_ref().and_then(|input| Template::check(input).err()));
    errors.extend(respond(&wish).err());
    if wish.system == System::Timer && wish.credential_id.is_some() {
        errors.push(FieldError::new("/credential_id", "a timer receives nothing to verify"));
    }
    if wish.system == System::Nats && wish.credential_id.is_some() {
        errors.push(FieldError::new("/credential_id", "what happens here needs no proof"));
    }
    let options = TriggerOptions::parse(wish.system, &wish.options);
    if let Ok(TriggerOptions::Timer(timer)) = &options {
        let present = present.and_then(|present| TimerOptions::parse(present).ok());
        if !present.is_some_and(|present| present.same_slots(timer)) {
            errors.extend(timer.check_future(now).err());
        }
    }
    match (agent, options) {
        (Ok(agent), Ok(options)) if errors.is_empty() => Ok(Checked { agent, options, wish }),
        (agent, options) => {
            errors.extend(agent.err());
            errors.extend(options.err().unwrap_or_default());
            Err(Error::Invalid(errors))
        }
    }
}

/// How long a sender waits for the result, if it does.
fn respond(wish: &Wish) -> Result<Option<i32>, FieldError> {
    let refuse = |why: &str| Err(FieldError::new("/respond", why));
    match (wish.respond.unwrap_or(Respond::Async), wish.respond_seconds) {
        (Respond::Async, None) => Ok(None),
        (Respond::Async, Some(_)) => {
            Err(FieldError::new("/respond_seconds", "has no meaning unless respond is `result`"))
        }
        (Respond::Result, _) if !wish.system.hooked() || wish.options["app"].is_object() => {
            refuse("nobody waits there for a result")
        }
        (Respond::Result, _) if wish.flow.is_some() => {
            refuse("flow control may keep the sender waiting")
        }
        (Respond::Result, seconds) => match seconds.unwrap_or(RESPOND_USUALLY) {
            seconds @ 1..=RESPOND_LONGEST => Ok(Some(seconds.cast_signed())),
            _ => Err(FieldError::new("/respond_seconds", "must be between 1 and 60")),
        },
    }
}

/// What triggers that share a source have in common, besides the credential.
pub(crate) fn options_key(options: &Value, by: &str) -> String {
    json!({ "options": options, "by": by }).to_string()
}

/// The agent or the swarm, if the caller may see it.
pub(crate) async fn agent<S>(
    app: &App,
    caller: &Caller<S>,
    started: impl Into<Started>,
) -> Result<Option<Agent>, Error> {
    let found = app.engine.agent(caller.tenant, caller.token(), started.into()).await;
    found.map_err(|error| away(Service::Engine, error))
}

/// Sees to the credential. `present` is the one the trigger has already.
pub(crate) async fn prepare<S>(
    app: &App,
    caller: &Caller<S>,
    (id, owner): (TriggerId, UserId),
    present: Option<CredentialId>,
    checked: Checked,
    agent: &Agent,
) -> Result<Ready, Error> {
    let Checked { agent: agent_id, options, wish } = checked;
    let respond_seconds = respond(&wish).map_err(|error| Error::Invalid(vec![error]))?;
    let flow = wish.flow.as_ref().map(serde_json::to_value).transpose();
    let (credential_id, signing_secret, timer) = match &options {
        TriggerOptions::Webhook(options) => {
            check_address(app, options)?;
            if options.app.is_some() {
                check_app(app, wish.system)?;
            }
            let wanted = (wish.credential_id, present);
            let (credential, secret) =
                credential(app, caller, (id, owner), wanted, options).await?;
            (credential, secret, None)
        }
        TriggerOptions::Timer(options) => (None, None, Some(options.clone())),
        TriggerOptions::Nats(options) => {
            check_heard(app, caller, options).await?;
            (None, None, None)
        }
        TriggerOptions::Poll(_) | TriggerOptions::Gmail(_) | TriggerOptions::Imap(_) => {
            let wanted = wish.credential_id;
            if let Some(credential) = wanted.filter(|_| wanted != present) {
                grant(app, caller, owner, id, credential).await?;
            }
            let needed = match wish.system {
                System::Gmail => "gmail needs a credential with an `access_token` of the mailbox",
                System::Imap => "imap needs a credential with `username` and `password`",
                _ => "",
            };
            if wanted.is_none() && !needed.is_empty() {
                return Err(no_credential(needed));
            }
            (wanted, None, None)
        }
    };
    let stored_options = serde_json::to_value(&options).map_err(anyhow::Error::from)?;
    // Without a secret there is nothing that two triggers could have in common; with one, a source is shared by
    // triggers of one person only, so that nobody receives what was sent to somebody else.
    let shared = credential_id.is_some() || wish.system.listened() || wish.system == System::Nats;
    let shared_by = if shared { owner.to_string() } else { id.to_string() };
    let options_key = options_key(&stored_options, &shared_by);
    let saved = Saved {
        name: wish.name,
        target_kind: agent_id.map_or(TargetKind::Route, Started::kind).into(),
        target_id: agent_id.map(Started::uuid),
        credential_id,
        own_credential_id: credential_id.filter(|_| signing_secret.is_some()),
        options: stored_options,
        filter: wish.filter,
        input: wish.input,
        flow: flow.map_err(anyhow::Error::from)?,
        respond_seconds,
        active: wish.active,
        paused: wish.paused,
        scope: if agent.team_id.is_some() { agent.scope.clone() } else { "user".into() },
        team_id: agent.team_id,
    };
    Ok(Ready { saved, system: wish.system, timer, options_key, signing_secret })
}

/// Winds the clock of a timer that was just inserted or updated; `before` is the trigger as it was.
pub(crate) async fn timer(
    tx: &mut TenantTx,
    id: TriggerId,
    before: Option<&stored::Trigger>,
    ready: &Ready,
) -> Result<(), Error> {
    match &ready.timer {
        Some(options) => timer::arm(tx, id, before, &ready.saved, options).await,
        None => Ok(()),
    }
}

/// Lets the source of a trigger that was just inserted or updated be listened to; `before` is the trigger as it was. One
/// that now looks elsewhere begins there anew.
pub(crate) async fn listen(
    tx: &mut TenantTx,
    source: SourceId,
    before: Option<&stored::Trigger>,
    ready: &Ready,
) -> Result<(), sqlx::Error> {
    let listened = |options: &Value| listening::listened(ready.system, options);
    if !listened(&ready.saved.options) {
        // It may have been, before it was changed.
        return match before.filter(|before| listened(&before.options)) {
            Some(before) if before.source_id == source => lease::stop(tx, source).await,
            Some(before) => lease::leave(tx, before.source_id).await,
            None => Ok(()),
        };
    }
    if let Some(before) = before {
        let saved = &ready.saved;
        let elsewhere = before.credential_id != saved.credential_id
            || !listening::same_place(ready.system, &before.options, &saved.options);
        if before.source_id != source {
            lease::leave(tx, before.source_id).await?;
        } else if elsewhere {
            lease::forget(tx, source).await?;
        }
    }
    lease::ensure(tx, source).await
}

/// Finds or makes the source; a changed trigger takes its own along if nobody else needs it.
pub(crate) async fn source(
    tx: &mut TenantTx,
    id: TriggerId,
    present: Option<SourceId>,
    ready: &Ready,
) -> Result<SourceId, sqlx::Error> {
    let key = source::Key {
        system: ready.system.as_str(),
        credential_id: ready.saved.credential_id,
        options: &ready.saved.options,
        options_key: &ready.options_key,
    };
    if let Some(present) = present
        && source::change(tx, present, id, &key).await?
    {
        return Ok(present);
    }
    source::join(tx, &key).await
}

pub(crate) fn away(service: Service, error: PeerError) -> Error {
    if error.passing() {
        tracing::warn!(%error, "another service is not available");
        Error::Unavailable(service)
    } else {
        Error::Internal(error.into())
    }
}
