//! All SQL of the service, one file per table or job. Functions take a transaction, never commit and never open one.

pub(crate) mod audit;
pub(crate) mod connect_session;
pub(crate) mod credential;
pub(crate) mod credential_type;
pub(crate) mod deleted;
pub(crate) mod grant;
pub(crate) mod group;
pub(crate) mod lease;
pub(crate) mod leaver;
pub(crate) mod provider_config;
pub(crate) mod refresh;
pub(crate) mod rotation;
pub(crate) mod tenant_key;
