//! OAuth 2: accounts that are connected once and stay connected.
//!
//! Providers are data ([`provider`]); a token endpoint is asked in one place ([`client`]) and its answer read in one
//! ([`answer`]); tokens are renewed by one task per process ([`renewals`]), which shares the work with the other
//! replicas through a lease in the row; somebody connects an account through a link ([`connect`]).

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod connect;
pub(crate) mod provider;
pub(crate) mod question;
pub(crate) mod renew;
pub(crate) mod renewals;
pub(crate) mod revocation;
