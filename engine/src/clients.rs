//! The other services, as far as the engine needs them.

mod credential_standing;
pub(crate) mod credsvc;
pub(crate) mod eventsvc;
pub(crate) mod gateway;
pub(crate) mod webhook_secrets;
