//! All SQL of the service, one file per table. Functions take a transaction, never commit and never open one.

pub(crate) mod audit;
pub(crate) mod credential;
pub(crate) mod grant;
pub(crate) mod group;
pub(crate) mod tenant_key;
