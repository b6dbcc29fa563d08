//! Calls that people are asked about before they are made. What would be sent is not in the events: it is content.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::RunRef;
use super::{Event, Stream};
use crate::{ApprovalId, UserId};

macro_rules! approval_event {
    ($(#[$doc:meta])* $name:ident = $event:literal { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// The run that wants to make the call.
            #[serde(flatten)]
            pub run: RunRef,
            /// What is asked.
            pub approval_id: ApprovalId,
            /// The tool that would be called.
            pub tool_name: String,
            $($(#[$fdoc])* pub $field: $type,)*
        }

        impl Event for $name {
            const STREAM: Stream = Stream::Runs;
            const NAME: &'static str = $event;
        }
    };
}

approval_event! {
    /// A call waits for people to approve of it.
    /// Sent by `engine`; heard by nobody but tenants' own endpoints.
    ApprovalRequested = "approval.requested" {
        /// When it is refused if nobody has decided.
        expires_at: DateTime<Utc>,
    }
}
approval_event! {
    /// People have decided about a call.
    /// Sent by `engine`; heard by nobody but tenants' own endpoints.
    ApprovalDecided = "approval.decided" {
        /// Whether it is made.
        approved: bool,
        /// Whose vote settled it.
        by: UserId,
    }
}
approval_event! {
    /// Nobody has decided about a call in time: it is refused.
    /// Sent by `engine`; heard by nobody but tenants' own endpoints.
    ApprovalExpired = "approval.expired" {}
}
