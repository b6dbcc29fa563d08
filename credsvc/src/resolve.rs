//! Giving a secret to a service: the only way plaintext leaves.
//!
//! Every attempt is in the audit before it is answered, the refused ones too.

use servicekit::{Actor, Caller, scope::CredentialsResolve};
use shared_models::{CredentialId, RunId, Service, UserId};

use crate::{
    App, Error,
    audit::{self, Action, Entry},
    fields::Fields,
    grantee::Grantee,
    origin::Origin,
    store::{self, credential::Credential},
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
    ask: &Ask,
) -> Result<Resolved, Error> {
    let entry = Entry::new(caller, origin, Action::Resolve)
        .about(ask.credential)
        .grantee(ask.grantee)
        .on_behalf_of(ask.owner)
        .because(ask.purpose.as_deref(), ask.host.as_deref());
    match open(app, caller, ask).await {
        Ok(resolved) => {
            let mut tx = app.db.begin(caller.tenant).await?;
            store::credential::mark_used(&mut tx, ask.credential).await?;
            audit::append(&mut tx, entry).await?;
            tx.commit().await?;
            count("ok");
            Ok(resolved)
        }
        Err(error) => {
            if let Error::Unreadable(cause) = &error {
                tracing::error!(credential = %ask.credential, %cause, "a stored secret does not open");
            }
            count(if matches!(error, Error::Unreadable(_) | Error::Db(_) | Error::Internal(_)) {
                "failed"
            } else {
                "refused"
            });
            Err(audit::refused(&app.db, caller.tenant, entry, error).await)
        }
    }
}

async fn open(
    app: &App,
    caller: &Caller<CredentialsResolve>,
    ask: &Ask,
) -> Result<Resolved, Error> {
    check_caller(&caller.actor)?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::credential::find(&mut tx, ask.credential).await?;
    let credential = found.ok_or(Error::NotFound(ask.credential))?;
    let granted = store::grant::exists(&mut tx, ask.credential, ask.grantee, ask.owner).await?;
    drop(tx);
    // A person's credential is only for what that person owns, whatever a grant says.
    let owners = credential.user_id.is_none() || credential.user_id == ask.owner;
    if !granted || !owners {
        return Err(Error::NotGranted { credential: ask.credential, grantee: ask.grantee });
    }
    let fields = unseal(app, &credential).await?;
    Ok(Resolved { credential, fields })
}

/// The plaintext of a credential. Whoever calls this has decided that it may be seen.
pub(crate) async fn unseal(app: &App, credential: &Credential) -> Result<Fields, Error> {
    let key = app.key(credential.tenant_id, credential.tenant_key_version).await?;
    Fields::from_bytes(&key.open(&credential.whose(), &credential.sealed())?)
}

/// The engine only needs secrets while it runs something; its other callers have no run to name.
fn check_caller(actor: &Actor) -> Result<Option<RunId>, Error> {
    match actor {
        Actor::User { .. } => Err(Error::ServicesOnly),
        Actor::Service { service: Service::Engine, run: None, .. } => Err(Error::RunRequired),
        Actor::Service { run, .. } => Ok(*run),
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("credsvc_resolves_total", "outcome" => outcome).increment(1);
}
