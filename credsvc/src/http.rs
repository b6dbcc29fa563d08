//! The handlers, one file per thing that can be done.

pub(crate) mod call;
pub(crate) mod connect;
pub(crate) mod create_connect_session;
pub(crate) mod create_credential;
pub(crate) mod create_grant;
pub(crate) mod credential_types;
pub(crate) mod delete_credential;
pub(crate) mod delete_grant;
pub(crate) mod delete_grants;
pub(crate) mod get_credential;
pub(crate) mod get_standing;
pub(crate) mod list_audit;
pub(crate) mod list_credentials;
pub(crate) mod list_leases;
pub(crate) mod oauth_clients;
pub(crate) mod resolve_credential;
pub(crate) mod restore_credential;
pub(crate) mod revoke_credential;
pub(crate) mod test_credential;
pub(crate) mod update_credential;
mod view;

use serde_json::{Map, Value};
use servicekit::{Caller, FieldError, Once, Problem, egress::HostPattern};
use shared_models::{CredentialId, Role, TenantId, UserId};

use crate::{App, Error, store::credential::Credential};

/// A path names a tenant; anybody else's is not there.
fn check_tenant<S>(caller: &Caller<S>, tenant: TenantId) -> Result<(), Problem> {
    if caller.tenant == tenant {
        Ok(())
    } else {
        Err(Problem::not_found(format!("tenant {tenant}")))
    }
}

/// The person who decides: the caller, or the one a calling service acts for.
#[derive(Clone, Copy, Debug)]
struct Person {
    user: UserId,
    role: Option<Role>,
}

impl Person {
    fn of<S>(caller: &Caller<S>) -> Result<Self, Error> {
        match (caller.user(), caller.subject()) {
            (Some(user), _) => Ok(Self { user, role: caller.role }),
            (None, Some(subject)) => Ok(Self { user: subject.user(), role: subject.role() }),
            (None, None) => Err(Error::SubjectRequired),
        }
    }

    fn is(&self, role: Role) -> bool {
        self.role.is_some_and(|held| held >= role)
    }

    /// Whether they may change or delete a credential; whose credential it is not theirs to see is not there.
    fn check_may_change(&self, credential: &Credential) -> Result<(), Error> {
        self.check_may_change_of(credential.id, credential.user_id)
    }

    /// The same of one that is known by id and owner only.
    fn check_may_change_of(&self, id: CredentialId, owner: Option<UserId>) -> Result<(), Error> {
        match owner {
            Some(owner) if owner != self.user => Err(Error::NotFound(id)),
            _ if !self.is(Role::Member) => Err(Error::ViewersDoNotWrite),
            Some(_) => Ok(()),
            None if self.is(Role::Admin) => Ok(()),
            None => Err(Error::AdminsOnly),
        }
    }
}

/// Names and metadata as they may be stored.
fn check_name(name: &str, errors: &mut Vec<FieldError>) {
    if name.trim().is_empty() || name.chars().count() > 200 || name.contains('\0') {
        errors.push(FieldError::new("/name", "1 to 200 characters without NUL"));
    }
}

fn check_meta(meta: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    const LARGEST: usize = 16 * 1024;
    let text = serde_json::to_string(meta).unwrap_or_default();
    if text.len() > LARGEST {
        errors.push(FieldError::new("/meta", format!("at most {} KiB of JSON", LARGEST / 1024)));
    }
    // Postgres cannot store it; an escaped backslash before "u0000" is no NUL, but refusing it costs nothing.
    if text.contains("\\u0000") {
        errors.push(FieldError::new("/meta", "must not contain NUL"));
    }
}

/// Hosts that a credential is bound to.
fn check_hosts(hosts: &[String], errors: &mut Vec<FieldError>) {
    if hosts.len() > 50 {
        errors.push(FieldError::new("/allowed_hosts", "at most 50"));
    }
    for (n, host) in hosts.iter().enumerate() {
        if HostPattern::parse(host).is_none() {
            let why = "must be a host such as `api.example.com`, `*.example.com` or `host:8443`";
            errors.push(FieldError::new(format!("/allowed_hosts/{n}"), why));
        }
    }
}

/// Text that goes into the audit.
fn check_note(pointer: &str, text: &str, errors: &mut Vec<FieldError>) {
    if text.trim().is_empty() || text.chars().count() > 500 || text.contains('\0') {
        errors.push(FieldError::new(pointer, "1 to 500 characters without NUL"));
    }
}

/// Whether a text names one of these.
fn is_one<T: serde::de::DeserializeOwned>(text: &str) -> bool {
    serde_json::from_value::<T>(Value::String(text.to_owned())).is_ok()
}

/// What a repetition of a request that carries a secret is known by, if it may be repeated. To be asked before a
/// transaction is begun.
async fn seen(app: &App, tenant: TenantId, once: &Once, said: &[u8]) -> Result<String, Error> {
    if !once.is_asked() {
        return Ok(String::new());
    }
    Ok(hex::encode(app.keys.print_key(tenant).await?.fingerprint(said)))
}

/// All that was found wrong, or nothing.
fn all_right(errors: Vec<FieldError>) -> Result<(), Error> {
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}
