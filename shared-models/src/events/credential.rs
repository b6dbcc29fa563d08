//! The life of credentials. Never their content.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Stream};
use crate::{CredentialId, RunId, UserId};

macro_rules! credential_event {
    ($(#[$doc:meta])* $name:ident = $event:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// Which credential.
            pub credential_id: CredentialId,
            /// Whose it is; none when it is the tenant's.
            #[serde(default)]
            pub user_id: Option<UserId>,
            /// The version after the event.
            pub version: i32,
        }

        impl Event for $name {
            const STREAM: Stream = Stream::Creds;
            const NAME: &'static str = $event;
        }
    };
}

credential_event! {
    /// A credential was stored. Sent by `credsvc`; nobody depends on it yet.
    CredentialCreated = "credential.created"
}
credential_event! {
    /// A credential's secret, or until when or where to it is given out, changed. Sent by `credsvc`; ends leases in
    /// `engine` and `eventsvc`, and lets runs that wait for it go on.
    CredentialUpdated = "credential.updated"
}
credential_event! {
    /// A credential was deleted and can no longer be used. Sent by `credsvc`; ends leases in `engine` and `eventsvc`,
    /// and lets runs that wait for it go on without.
    CredentialDeleted = "credential.deleted"
}

/// What a credential is good for now changed: it was connected, broke, expired, was revoked, or is well again. Sent by
/// `credsvc`; ends leases in `engine` and `eventsvc`, and lets runs that wait for a connection go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialHealthChanged {
    /// Which credential.
    pub credential_id: CredentialId,
    /// Whose it is; none when it is the tenant's.
    #[serde(default)]
    pub user_id: Option<UserId>,
    /// `ok`, `expiring`, `needs_reconnect`, `failed_test`, `revoked` or `expired`.
    pub health: String,
    /// Why, in a word.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Event for CredentialHealthChanged {
    const STREAM: Stream = Stream::Creds;
    const NAME: &'static str = "credential.health_changed";
}

/// A credential that is bait was asked for: somebody is where they should not be. Sent by `credsvc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialHoneyUsed {
    /// Which credential.
    pub credential_id: CredentialId,
    /// For which agent, trigger or model.
    pub grantee: String,
    /// What the asking service said.
    #[serde(default)]
    pub purpose: Option<String>,
    /// In which run.
    #[serde(default)]
    pub run_id: Option<RunId>,
}

impl Event for CredentialHoneyUsed {
    const STREAM: Stream = Stream::Creds;
    const NAME: &'static str = "credential.honey_used";
}
