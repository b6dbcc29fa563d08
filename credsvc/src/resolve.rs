//! Giving a secret to a service: the only way plaintext leaves.
//!
//! Every attempt is in the audit before it is answered, the refused ones too.

use std::sync::Arc;

use servicekit::{Actor, Caller, scope::CredentialsResolve};
use shared_models::{CredentialId, Service, TenantId, UserId};

use crate::{
    App, Error,
    audit::{Action, Entry},
    fields::Fields,
    grantee::Grantee,
    ledger::{Answer, Asked},
    origin::Origin,
    store::{credential::Credential, group::Found},
    vault::{TenantKey, Vault, VaultError},
};

/// What a service asks for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) credential: CredentialId,
    /// For which agent or trigger.
    pub(crate) grantee: Grantee,
    /// Whose agent or trigger it is. May be unknown for the tenant's credentials only.
    pub(crate) owner: Option<UserId>,
    pub(crate) purpose: Option<String>,
    pub(crate) host: Option<String>,
}

/// A secret, for a short while.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) credential: Credential,
    pub(crate) fields: Fields,
}

/// Opens a credential for a grantee it was granted to.
pub(crate) async fn resolve(
    app: &App,
    caller: &Caller<CredentialsResolve>,
    origin: &Origin,
    ask: Ask,
) -> Result<Resolved, Error> {
    let entry = Entry::new(caller, origin, Action::Resolve)
        .about(ask.credential)
        .grantee(ask.grantee)
        .on_behalf_of(ask.owner)
        .because(ask.purpose.as_deref(), ask.host.as_deref());
    let credential = ask.credential;
    let resolved = match check_caller(&caller.actor) {
        Ok(()) => open(app, caller.tenant, Asked { ask, entry }).await,
        Err(error) => Err(app.ledger.refused(caller.tenant, entry, error).await),
    };
    if let Err(Error::Unreadable(cause)) = &resolved {
        tracing::error!(%credential, %cause, "a stored secret does not open");
    }
    count(match &resolved {
        Ok(_) => "ok",
        Err(Error::Unreadable(_) | Error::Busy | Error::Db(_) | Error::Internal(_)) => "failed",
        Err(_) => "refused",
    });
    resolved
}

/// Asks the ledger, and again with the tenant's key when that is not in memory.
async fn open(app: &App, tenant: TenantId, asked: Asked) -> Result<Resolved, Error> {
    // The secret may be sealed anew, under the next key, between two attempts; hardly twice.
    const ATTEMPTS: u32 = 3;
    let (asked, mut key) = (Arc::new(asked), None);
    for _ in 0..ATTEMPTS {
        match app.ledger.open(tenant, asked.clone(), key.take()).await? {
            Answer::Opened(resolved) => return Ok(*resolved),
            Answer::NeedsKey(version) => match app.key(tenant, version).await {
                Ok(found) => key = Some(found),
                Err(error) => {
                    return Err(app.ledger.refused(tenant, asked.entry.clone(), error).await);
                }
            },
            Answer::Recorded => break,
        }
    }
    Err(Error::Busy)
}

/// Whether who asks gets it, and if so the secret. Knows no SQL and waits for nothing.
pub(crate) fn decide(
    ask: &Ask,
    found: Option<Found>,
    key: Option<&TenantKey>,
    vault: &Vault,
) -> Result<Answer, Error> {
    let Found { credential, granted, usable } = found.ok_or(Error::NotFound(ask.credential))?;
    // A person's credential is only for what that person owns, whatever a grant says.
    let owners = credential.user_id.is_none() || credential.user_id == ask.owner;
    if !granted || !owners {
        return Err(Error::NotGranted { credential: ask.credential, grantee: ask.grantee });
    }
    let (tenant, version) = (credential.tenant_id, credential.tenant_key_version);
    if !usable {
        vault.forget(tenant, version);
        return Err(VaultError::NoTenantKey(version).into());
    }
    let remembered = || vault.remembered(tenant, version);
    let given = key.filter(|key| key.is(tenant, version)).cloned();
    let Some(key) = given.or_else(remembered) else { return Ok(Answer::NeedsKey(version)) };
    let fields = Fields::from_bytes(&key.open(&credential.whose(), &credential.sealed())?)?;
    Ok(Answer::Opened(Box::new(Resolved { credential, fields })))
}

/// The plaintext of a credential. Whoever calls this has decided that it may be seen.
pub(crate) async fn unseal(app: &App, credential: &Credential) -> Result<Fields, Error> {
    let key = app.key(credential.tenant_id, credential.tenant_key_version).await?;
    Fields::from_bytes(&key.open(&credential.whose(), &credential.sealed())?)
}

/// The engine only needs secrets while it runs something; its other callers have no run to name.
fn check_caller(actor: &Actor) -> Result<(), Error> {
    match actor {
        Actor::User { .. } => Err(Error::ServicesOnly),
        Actor::Service { service: Service::Engine, run: None, .. } => Err(Error::RunRequired),
        Actor::Service { .. } => Ok(()),
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("credsvc_resolves_total", "outcome" => outcome).increment(1);
}
