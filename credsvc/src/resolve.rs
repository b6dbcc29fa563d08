//! Giving a secret to a service: the only way plaintext leaves.
//!
//! Every attempt is in the audit before it is answered, the refused ones too.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use servicekit::{Actor, Caller, egress::HostPattern, scope::CredentialsResolve};
use shared_models::{
    CredentialId, RunId, Service, TenantId, UserId, events::credential::CredentialHoneyUsed,
};
use url::Url;

use crate::{
    App, Error,
    audit::{Action, Entry},
    fields::Fields,
    grantee::Grantee,
    ledger::{Answer, Asked},
    origin::Origin,
    store::{
        credential::Health,
        group::{Found, Leasable},
    },
    vault::{TenantKey, Vault, VaultError},
};

/// An access token that lives no longer than this is renewed first.
const SPARE: TimeDelta = TimeDelta::seconds(30);

/// What a service asks for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) credential: CredentialId,
    /// For which agent or trigger.
    pub(crate) grantee: Grantee,
    /// Whose agent or trigger it is. May be unknown for the tenant's credentials only.
    pub(crate) owner: Option<UserId>,
    pub(crate) purpose: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) run: Option<RunId>,
    /// An access token must have some of its life left; false once it was tried to get another.
    pub(crate) spare: bool,
}

/// A secret, for a short while.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) credential: Leasable,
    pub(crate) fields: Fields,
    /// How long it is good at most, when that is known.
    pub(crate) lives: Option<TimeDelta>,
}

/// Opens a credential for a grantee it was granted to.
pub(crate) async fn resolve(
    app: &App,
    caller: &Caller<CredentialsResolve>,
    origin: &Origin,
    mut ask: Ask,
) -> Result<Resolved, Error> {
    if let Actor::Service { run, .. } = &caller.actor {
        ask.run = *run;
    }
    let entry = Entry::new(caller, origin, Action::Resolve)
        .about(ask.credential)
        .grantee(ask.grantee)
        .on_behalf_of(ask.owner)
        .because(ask.purpose.as_deref(), ask.host.as_deref());
    let credential = ask.credential;
    let resolved = match check_caller(&caller.actor, ask.grantee) {
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

/// Asks the ledger, and again with the tenant's key when that is not in memory, or with a new access token when the old
/// one is about to end.
async fn open(app: &App, tenant: TenantId, mut asked: Asked) -> Result<Resolved, Error> {
    // The secret may be sealed anew, under the next key, between two attempts; hardly twice.
    const ATTEMPTS: u32 = 5;
    let (mut key, mut down, mut spare) = (None, None, true);
    let mut gone = None;
    for _ in 0..ATTEMPTS {
        let shared = Arc::new(asked);
        match app.ledger.open(tenant, shared.clone(), key.take()).await? {
            Answer::Opened(resolved) => return bait(app, tenant, &shared, *resolved).await,
            Answer::NeedsKey(version) => match app.keys.get(tenant, version).await {
                Ok(found) => key = Some(found),
                // Retired since the secret was read, which is then sealed under the next: looked for once more.
                Err(Error::Unreadable(VaultError::NoTenantKey(_))) if gone != Some(version) => {
                    gone = Some(version);
                }
                Err(error) => {
                    return Err(app.ledger.refused(tenant, shared.entry.clone(), error).await);
                }
            },
            Answer::NeedsToken(version) => {
                spare = false;
                let renewed = match down.take() {
                    Some(error) => Err(error),
                    None => app.renewals.renew(tenant, shared.ask.credential, version).await,
                };
                match renewed {
                    Ok(()) => {}
                    // What is left of the old token's life is better than nothing.
                    Err(error) if shared.ask.spare => down = Some(error),
                    Err(error) => {
                        return Err(app.ledger.refused(tenant, shared.entry.clone(), error).await);
                    }
                }
            }
            Answer::Recorded => break,
        }
        asked = Asked { ask: Ask { spare, ..shared.ask.clone() }, entry: shared.entry.clone() };
    }
    Err(Error::Busy)
}

/// Bait works like any other credential; that somebody took it is told before they have it.
async fn bait(
    app: &App,
    tenant: TenantId,
    asked: &Asked,
    resolved: Resolved,
) -> Result<Resolved, Error> {
    if resolved.credential.honey {
        let event = CredentialHoneyUsed {
            credential_id: resolved.credential.id,
            grantee: asked.ask.grantee.to_string(),
            purpose: asked.ask.purpose.clone(),
            run_id: asked.ask.run,
        };
        let mut tx = app.db.begin(tenant).await?;
        pubsub::emit(&mut tx, &event).await?;
        tx.commit().await?;
        tracing::error!(credential = %event.credential_id, grantee = %event.grantee, "bait was taken");
        metrics::counter!("credsvc_honey_used_total").increment(1);
    }
    Ok(resolved)
}

/// Whether who asks gets it, and if so the secret. Knows no SQL and waits for nothing.
pub(crate) fn decide(
    ask: &Ask,
    found: Option<Found>,
    key: Option<&TenantKey>,
    vault: &Vault,
    now: DateTime<Utc>,
) -> Result<Answer, Error> {
    let Found { credential, granted, usable } = found.ok_or(Error::NotFound(ask.credential))?;
    // A person's credential is only for what that person owns, whatever a grant says.
    let owners = credential.user_id.is_none() || credential.user_id == ask.owner;
    if !granted || !owners {
        return Err(Error::NotGranted { credential: ask.credential, grantee: ask.grantee });
    }
    let (health, connection) = (credential.health, credential.connection);
    check_usable(credential.id, health, credential.expires_at, connection, now)?;
    check_host(&credential.allowed_hosts, ask.host.as_deref())?;
    let margin = if ask.spare { SPARE } else { TimeDelta::zero() };
    if credential.token_expires_at.is_some_and(|at| at - margin <= now) {
        return Ok(Answer::NeedsToken(credential.version));
    }
    let (tenant, version) = (credential.tenant_id, credential.sealed.tenant_key_version);
    if !usable {
        vault.forget(tenant, version);
        return Err(VaultError::NoTenantKey(version).into());
    }
    let remembered = || vault.remembered(tenant, version);
    let given = key.filter(|key| key.is(tenant, version)).cloned();
    let Some(key) = given.or_else(remembered) else { return Ok(Answer::NeedsKey(version)) };
    let fields = Fields::from_bytes(&key.open(&credential.whose(), &credential.sealed)?)?;
    let fields = if connection { fields.only("access_token") } else { fields };
    let ends = [credential.expires_at, credential.token_expires_at].into_iter().flatten().min();
    let lives = ends.map(|at| at - now);
    Ok(Answer::Opened(Box::new(Resolved { credential, fields, lives })))
}

/// Whether it may be used now. `connection`: its access token is got and renewed by us.
pub(crate) fn check_usable(
    id: CredentialId,
    health: Health,
    expires_at: Option<DateTime<Utc>>,
    connection: bool,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    match health {
        Health::Revoked => Err(Error::Revoked(id)),
        _ if expires_at.is_some_and(|at| at <= now) => Err(Error::Expired(id)),
        Health::NeedsReconnect if connection => Err(Error::NeedsReconnect(id)),
        _ => Ok(()),
    }
}

/// Whether it may be sent there.
fn check_host(hosts: &[String], host: Option<&str>) -> Result<(), Error> {
    let url = host.and_then(|host| Url::parse(&format!("https://{host}")).ok());
    let allows =
        |url: &Url| hosts.iter().filter_map(|h| HostPattern::parse(h)).any(|h| h.matches_url(url));
    if hosts.is_empty() || url.as_ref().is_some_and(allows) {
        return Ok(());
    }
    let host = host.unwrap_or("a host that was not said").to_owned();
    Err(Error::HostNotAllowed { host, allowed: hosts.join(", ") })
}

/// The engine needs an agent's secrets only while it runs something. What is signed for an endpoint, and what a model is
/// asked beside runs, has no run to name.
fn check_caller(actor: &Actor, grantee: Grantee) -> Result<(), Error> {
    let of_runs = matches!(grantee, Grantee::Agent(_) | Grantee::Trigger(_));
    match actor {
        Actor::User { .. } => Err(Error::ServicesOnly),
        Actor::Service { service: Service::Engine, run: None, .. } if of_runs => {
            Err(Error::RunRequired)
        }
        Actor::Service { .. } => Ok(()),
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("credsvc_resolves_total", "outcome" => outcome).increment(1);
}
