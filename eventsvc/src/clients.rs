//! The services this one asks, each through a small typed client.

pub(crate) mod credsvc;
pub(crate) mod engine;
pub(crate) mod google;
