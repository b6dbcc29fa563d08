//! The gateway knows who belongs to a tenant.

use serde::Deserialize;
use servicekit::{Peer, PeerError, peer::Ask};
use shared_models::{Role, TeamId, TenantId, UserId};

use crate::error::Error;

#[derive(Clone, Debug)]
pub(crate) struct Gateway(Peer);

/// What somebody is in a tenant right now, as opposed to when their token was made.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Member {
    pub(crate) role: Role,
    /// Whether they may see content.
    pub(crate) payloads: bool,
    pub(crate) teams: Vec<TeamId>,
    pub(crate) status: String,
}

impl Gateway {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(peer)
    }

    /// The person's membership, if they have one.
    pub(crate) async fn member(
        &self,
        tenant: TenantId,
        user: UserId,
    ) -> Result<Option<Member>, Error> {
        let path = format!("/internal/members/{user}");
        match self.0.get(Ask::new(tenant, "membership"), &path).await {
            Ok(member) => Ok(Some(member)),
            Err(PeerError::Problem(_, problem)) if problem.status == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
