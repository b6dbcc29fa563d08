//! The credential of a trigger: checked, granted, or made and shown once; and what it means to hear of the platform itself.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dbutil::TenantTx;
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use servicekit::{Caller, FieldError};
use shared_models::{CredentialId, Service, TriggerId, UserId};

use super::{agent, away};
use crate::{
    app::App,
    bus_hooks::NatsOptions,
    error::Error,
    options::{Scheme, WebhookOptions},
    secrets,
    store::trigger as stored,
    trigger::System,
};

/// The credential a hook is verified with, and the secret in it when it was made just now.
pub(super) async fn credential<S>(
    app: &App,
    caller: &Caller<S>,
    (id, owner): (TriggerId, UserId),
    (wanted, present): (Option<CredentialId>, Option<CredentialId>),
    options: &WebhookOptions,
) -> Result<(Option<CredentialId>, Option<SecretString>), Error> {
    match wanted {
        None if options.app.is_some() => {
            Err(no_credential("the app needs a credential whose `access_token` opens the account"))
        }
        Some(credential) if present == Some(credential) => Ok((Some(credential), None)),
        Some(credential) if options.app.is_some() => {
            grant(app, caller, owner, id, credential).await?;
            Ok((Some(credential), None))
        }
        Some(credential) => {
            grant(app, caller, owner, id, credential).await?;
            check_fields(app, caller, owner, id, credential, options.verify.scheme).await?;
            Ok((Some(credential), None))
        }
        None if !options.needs_secret() => Ok((None, None)),
        None if options.verify.scheme == Scheme::Basic => {
            Err(no_credential("HTTP Basic needs a credential with `username` and `password`"))
        }
        // The vault stores a person's secret only for that person.
        None if caller.user() != Some(owner) => Err(Error::NotOwner),
        None => {
            let secret = make_secret();
            let fields = json!({ "secret": secret.expose_secret() });
            let credential = keep(app, caller, (id, owner), &fields).await?;
            Ok((Some(credential), Some(secret)))
        }
    }
}

pub(super) fn no_credential(message: &str) -> Error {
    Error::Invalid(vec![FieldError::new("/credential_id", message)])
}

/// Without its secret the platform's app takes nothing in.
pub(super) fn check_app(app: &App, system: System) -> Result<(), Error> {
    if app.apps.secrets.contains_key(&system) {
        return Ok(());
    }
    let why = format!("the operator has set up no app of {system}: have its secret configured");
    Err(Error::Invalid(vec![FieldError::new("/options/app", why)]))
}

/// A scheme that signs the address cannot be checked by one who does not know it.
pub(super) fn check_address(app: &App, options: &WebhookOptions) -> Result<(), Error> {
    let verify = &options.verify;
    if !verify.signs_address() || verify.public_url.is_some() || app.public_url.is_some() {
        return Ok(());
    }
    let why = "the provider signs the hook's public address: name it here, or have SWITCHYARD_PUBLIC_URL set";
    Err(Error::Invalid(vec![FieldError::new("/options/verify/public_url", why)]))
}

/// Puts signing secrets into the vault and lets the trigger use them.
pub(crate) async fn keep<S>(
    app: &App,
    caller: &Caller<S>,
    (id, owner): (TriggerId, UserId),
    fields: &Value,
) -> Result<CredentialId, Error> {
    let made = app.credsvc.store(caller.tenant, caller.token(), owner, id, fields).await;
    let credential = made.map_err(|error| away(Service::Credsvc, error))?;
    grant(app, caller, owner, id, credential).await?;
    Ok(credential)
}

pub(crate) async fn grant<S>(
    app: &App,
    caller: &Caller<S>,
    owner: UserId,
    id: TriggerId,
    credential: CredentialId,
) -> Result<(), Error> {
    let granted = app.credsvc.grant(caller.tenant, caller.token(), owner, id, credential).await;
    granted.map_err(|error| match error.status() {
        Some(403 | 404 | 422) => Error::CredentialNotUsable(credential),
        _ => away(Service::Credsvc, error),
    })
}

/// A credential without the fields the scheme needs is noticed now, not at the first delivery.
async fn check_fields<S>(
    app: &App,
    caller: &Caller<S>,
    owner: UserId,
    id: TriggerId,
    credential: CredentialId,
    scheme: Scheme,
) -> Result<(), Error> {
    let resolved = app.credsvc.resolve(caller.tenant, owner, id, credential).await;
    let resolved = resolved.map_err(|error| match error.status() {
        Some(403 | 404) => Error::CredentialNotUsable(credential),
        _ => away(Service::Credsvc, error),
    })?;
    secrets::of_fields(scheme, &resolved).map(drop).map_err(|missing| {
        let message = format!("the credential has no field `{missing}`");
        Error::Invalid(vec![FieldError::new("/credential_id", message)])
    })
}

/// A signing secret as Standard Webhooks writes it.
pub(crate) fn make_secret() -> SecretString {
    let key: [u8; 32] = rand::rng().random();
    format!("whsec_{}", STANDARD.encode(key)).into()
}

/// Only what a person may see is heard: agents that are named, or everything for administrators.
pub(super) async fn check_heard<S>(
    app: &App,
    caller: &Caller<S>,
    options: &NatsOptions,
) -> Result<(), Error> {
    if options.agent_ids.is_empty() && !caller.is_admin() {
        let why = "name agents that you see: only administrators hear of all of them";
        return Err(Error::Invalid(vec![FieldError::new("/options/agent_ids", why)]));
    }
    for (place, id) in options.agent_ids.iter().enumerate() {
        if agent(app, caller, *id).await?.is_none() {
            let pointer = format!("/options/agent_ids/{place}");
            return Err(Error::Invalid(vec![FieldError::new(pointer, "there is no such agent")]));
        }
    }
    Ok(())
}

/// The secret that was made for a trigger, once the trigger uses it no more, unless others were given it as well.
pub(crate) async fn unused(
    tx: &mut TenantTx,
    own: Option<CredentialId>,
) -> Result<Option<CredentialId>, sqlx::Error> {
    let Some(own) = own else { return Ok(None) };
    Ok(if stored::uses(tx, own).await? { None } else { Some(own) })
}

/// Takes a secret that no trigger uses any more (see [`unused`]) back from the one it was made for, and deletes it. It stays
/// where an agent, or anything else, was granted it meanwhile; that anything else fails does no harm.
pub(crate) async fn discard<S>(app: &App, caller: &Caller<S>, id: TriggerId, own: CredentialId) {
    let done = async {
        app.credsvc.take_back(caller.tenant, id, own).await?;
        app.credsvc.delete(caller.tenant, caller.token(), own).await
    };
    match done.await {
        Err(error) if error.status() == Some(409) => {
            tracing::debug!(credential.id = %own, "a signing secret stays: it was granted to others");
        }
        Err(error) => {
            tracing::info!(credential.id = %own, %error, "a signing secret that is used no more was not deleted");
        }
        Ok(()) => {}
    }
}
