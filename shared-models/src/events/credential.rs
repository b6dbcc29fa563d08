//! The life of credentials. Never their content.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Stream};
use crate::{CredentialId, UserId};

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
    /// A credential's secret changed. Sent by `credsvc`; nobody depends on it yet.
    CredentialUpdated = "credential.updated"
}
credential_event! {
    /// A credential was deleted and can no longer be used. Sent by `credsvc`; nobody depends on it yet.
    CredentialDeleted = "credential.deleted"
}
