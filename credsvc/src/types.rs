//! The types a credential can have: what each needs, how a form asks for it, how it is sent and how it is tried.
//!
//! The platform's are data in the program ([`Types`]); a tenant's own are rows of the same shape.

mod check;
mod definition;
mod template;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use dbutil::TenantTx;
use servicekit::FieldError;

use crate::{
    Error,
    fields::Fields,
    store::{self, credential::Connection},
};
use check::Checker;
pub(crate) use definition::{Auth, CredentialType, FormField, Inject, TestSpec};
pub(crate) use template::{Unfilled, fill};

/// The type of a credential that does not say one: any fields.
pub(crate) const GENERIC: &str = "generic";

const SEEDED: &str = include_str!("types/seeded.json");

/// The platform's types. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Types(Arc<BTreeMap<String, Kind>>);

/// A type, ready to check values.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// What it says of itself.
    pub(crate) definition: CredentialType,
    checker: Checker,
}

impl Types {
    /// Those in the program.
    pub(crate) fn seeded() -> anyhow::Result<Self> {
        let all: Vec<CredentialType> =
            serde_json::from_str(SEEDED).context("reading the seeded credential types")?;
        let kinds = all.into_iter().map(|definition| {
            let name = definition.name.clone();
            let kind =
                Kind::new(definition).map_err(|why| anyhow::anyhow!("type {name}: {why}"))?;
            Ok((name, kind))
        });
        Ok(Self(Arc::new(kinds.collect::<anyhow::Result<_>>()?)))
    }

    /// One of the platform's.
    pub(crate) fn get(&self, name: &str) -> Option<&Kind> {
        self.0.get(name)
    }

    /// All of the platform's, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &CredentialType> {
        self.0.values().map(|kind| &kind.definition)
    }

    /// One of the platform's or of the tenant's own.
    pub(crate) async fn find(&self, tx: &mut TenantTx, name: &str) -> Result<Option<Kind>, Error> {
        if let Some(kind) = self.get(name) {
            return Ok(Some(kind.clone()));
        }
        let Some(stored) = store::credential_type::find(tx, name).await? else { return Ok(None) };
        let kind = Kind::new(stored.definition)
            .map_err(|why| anyhow::anyhow!("the stored type {name}: {why}"))?;
        Ok(Some(kind))
    }

    /// Keeps a type from being removed until the transaction ends; says whether it is there.
    pub(crate) async fn hold(&self, tx: &mut TenantTx, name: &str) -> Result<bool, sqlx::Error> {
        Ok(self.get(name).is_some() || store::credential_type::hold(tx, name).await?)
    }
}

impl Kind {
    /// Says what is wrong with the schema, if it is none.
    pub(crate) fn new(definition: CredentialType) -> Result<Self, String> {
        let checker = Checker::new(&definition.schema)?;
        Ok(Self { definition, checker })
    }

    /// The state that a new credential begins with when it gets tokens of its own: they are got when they are needed.
    pub(crate) fn connection(&self) -> Option<Connection> {
        (self.definition.auth == Auth::ClientCredentials).then(|| Connection {
            lives: Some(0.0),
            renew_in: Some(0.0),
            ..Connection::default()
        })
    }

    /// Says everything that is wrong with the fields, each by its pointer below `/credentials`.
    pub(crate) fn check(&self, fields: &Fields, errors: &mut Vec<FieldError>) {
        self.checker.check(fields, errors);
    }
}

/// What is said of a type that nobody knows.
pub(crate) fn unknown(pointer: &str) -> FieldError {
    FieldError::new(pointer, "is not a credential type; `GET /v1/credential-types` lists them")
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
