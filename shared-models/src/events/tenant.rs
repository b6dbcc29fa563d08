//! Tenants.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Stream};
use crate::{TenantId, UserId};

/// A tenant exists. Sent by `gateway`; nobody depends on it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantCreated {
    /// The new tenant.
    pub tenant_id: TenantId,
    /// Its first owner.
    pub owner: UserId,
}

impl Event for TenantCreated {
    const STREAM: Stream = Stream::Identity;
    const NAME: &'static str = "tenant.created";
}

/// Somebody is no member any more. Sent by `gateway`; `credsvc` revokes what was theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberRemoved {
    /// Who has left.
    pub user_id: UserId,
    /// Who had them leave, if that was a person; perhaps they themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_by: Option<UserId>,
}

impl Event for MemberRemoved {
    const STREAM: Stream = Stream::Identity;
    const NAME: &'static str = "member.removed";
}
