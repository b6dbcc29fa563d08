//! Who did what to which credential, why, from where, and how it ended; refusals too.
//!
//! The rows of a tenant form a chain: each holds the hash of the one before it, and the tenant's head holds the last, so
//! a row that was changed, removed, added or moved shows when the chain is verified. A row commits with the change it
//! tells of: in the transaction that changes something, or, when nothing is changed (reading, resolving, being refused), in
//! a group with others ([`crate::ledger`]). Appending locks the head, so it is the last thing a transaction does before it
//! commits.

mod verify;

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use servicekit::{Actor, Caller};
use sha2::{Digest as _, Sha256};
use shared_models::{CredentialId, RunId, TenantId, UserId};

use crate::{
    Error,
    grantee::Grantee,
    origin::Origin,
    store::{self, audit::Head},
};
pub use verify::{Verdict, verify, verify_all};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Create,
    Read,
    Resolve,
    Update,
    Delete,
    /// One that was deleted is back.
    Restore,
    Grant,
    /// A grant was taken back.
    Revoke,
    Test,
    Connect,
    Refresh,
    /// It was taken back: nobody is given it any more. Its provider was told, in an entry of its own when its owner had left.
    Disconnect,
    /// A call was made through the proxy.
    Call,
    /// A type or an OAuth client of the tenant was made, changed or removed.
    Configure,
    /// A key was put under another, or destroyed.
    Rotate,
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Resolve => "resolve",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
            Self::Test => "test",
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::Disconnect => "disconnect",
            Self::Call => "call",
            Self::Configure => "configure",
            Self::Rotate => "rotate",
        }
    }
}

/// One row of the chain. The order of its fields is part of the hash.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) actor: String,
    pub(crate) on_behalf_of: Option<UserId>,
    pub(crate) action: String,
    pub(crate) credential_id: Option<CredentialId>,
    pub(crate) grantee: Option<String>,
    pub(crate) run_id: Option<RunId>,
    pub(crate) purpose: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) remote: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    #[serde(skip)]
    pub(crate) prev_hash: Vec<u8>,
    #[serde(skip)]
    pub(crate) hash: Vec<u8>,
}

/// A row to be: everything but its place in the chain.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    actor: String,
    on_behalf_of: Option<UserId>,
    action: Action,
    credential: Option<CredentialId>,
    grantee: Option<Grantee>,
    run: Option<RunId>,
    purpose: Option<String>,
    host: Option<String>,
    origin: Origin,
    outcome: &'static str,
    reason: Option<&'static str>,
}

impl Entry {
    /// Something a caller did, and that it went well.
    pub(crate) fn new<S>(caller: &Caller<S>, origin: &Origin, action: Action) -> Self {
        let (purpose, run) = match &caller.actor {
            Actor::User { .. } => (None, None),
            Actor::Service { purpose, run, .. } => (purpose.clone(), *run),
        };
        Self {
            actor: caller.principal(),
            on_behalf_of: caller.subject().map(servicekit::Subject::user),
            action,
            credential: None,
            grantee: None,
            run,
            purpose: purpose.map(|text| text.replace('\0', "")),
            host: None,
            origin: origin.clone(),
            outcome: "ok",
            reason: None,
        }
    }

    /// Something the service did by itself, and that it went well.
    pub(crate) fn own(action: Action, purpose: &str) -> Self {
        Self {
            actor: "svc:credsvc".into(),
            on_behalf_of: None,
            action,
            credential: None,
            grantee: None,
            run: None,
            purpose: Some(purpose.to_owned()),
            host: None,
            origin: Origin::default(),
            outcome: "ok",
            reason: None,
        }
    }

    /// The same from where somebody unknown came: the link they have says who let them.
    pub(crate) fn from(mut self, origin: &Origin, let_in_by: UserId) -> Self {
        self.origin = origin.clone();
        self.on_behalf_of(Some(let_in_by))
    }

    /// The same, which came to nothing.
    pub(crate) fn failed(mut self, reason: &'static str) -> Self {
        (self.outcome, self.reason) = ("failed", Some(reason));
        self
    }

    pub(crate) fn about(mut self, credential: CredentialId) -> Self {
        self.credential = Some(credential);
        self
    }

    pub(crate) fn grantee(mut self, grantee: Grantee) -> Self {
        self.grantee = Some(grantee);
        self
    }

    pub(crate) fn on_behalf_of(mut self, user: Option<UserId>) -> Self {
        self.on_behalf_of = user.or(self.on_behalf_of);
        self
    }

    pub(crate) fn because(mut self, purpose: Option<&str>, host: Option<&str>) -> Self {
        self.purpose = purpose.map(str::to_owned).or(self.purpose);
        self.host = host.map(str::to_owned);
        self
    }

    /// The same, ended by an error.
    pub(crate) fn ended(mut self, error: &Error) -> Self {
        let (outcome, reason) = error.told();
        (self.outcome, self.reason) = (outcome, Some(reason));
        self
    }

    /// The row that follows the end of a chain.
    pub(crate) fn behind(self, head: &Head) -> Result<Row, sqlx::Error> {
        let mut row = Row {
            seq: head.seq + 1,
            occurred_at: head.at,
            actor: self.actor,
            on_behalf_of: self.on_behalf_of,
            action: self.action.as_str().into(),
            credential_id: self.credential,
            grantee: self.grantee.map(|grantee| grantee.to_string()),
            run_id: self.run,
            purpose: self.purpose,
            host: self.host,
            remote: self.origin.remote,
            request_id: self.origin.request_id,
            outcome: self.outcome.into(),
            reason: self.reason.map(str::to_owned),
            prev_hash: head.hash.clone(),
            hash: Vec::new(),
        };
        row.hash = hash(&row)?;
        Ok(row)
    }
}

/// Adds an entry to the chain of the transaction's tenant.
pub(crate) async fn append(tx: &mut TenantTx, entry: Entry) -> Result<(), sqlx::Error> {
    let head = store::audit::lock_head(tx, &genesis(tx.tenant())).await?;
    store::audit::append(tx, &entry.behind(&head)?).await
}

/// What the first row follows: differs per tenant, so that chains cannot be exchanged.
pub(crate) fn genesis(tenant: TenantId) -> Vec<u8> {
    Sha256::digest(format!("switchyard/credential-audit/{tenant}")).to_vec()
}

fn hash(row: &Row) -> Result<Vec<u8>, sqlx::Error> {
    let text = serde_json::to_vec(row).map_err(|error| sqlx::Error::Encode(error.into()))?;
    Ok(Sha256::new().chain_update(&row.prev_hash).chain_update(text).finalize().to_vec())
}
