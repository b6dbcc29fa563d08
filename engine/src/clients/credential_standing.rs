//! Whether a credential can be used, asked without taking its secret.

use serde::Deserialize;
use servicekit::{PeerError, peer::Ask};
use shared_models::{CredentialId, TenantId};

use super::credsvc::Credsvc;

#[derive(Deserialize)]
struct Standing {
    health: String,
}

impl Credsvc {
    /// Whether somebody has to connect the credential again before it can be used. One that is gone, or was taken back,
    /// waits for nobody: whoever asks for it learns that.
    pub(crate) async fn needs_reconnect(
        &self,
        tenant: TenantId,
        credential: CredentialId,
    ) -> Result<bool, PeerError> {
        let ask = Ask::new(tenant, "runs wait for a credential");
        let path = format!("/internal/credentials/{credential}/standing");
        match self.0.get::<Standing>(ask, &path).await {
            Ok(standing) => Ok(standing.health == "needs_reconnect"),
            Err(PeerError::Problem(_, problem)) if problem.status == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }
}
