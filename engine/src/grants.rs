//! Letting agents use credentials. Each grant is noted before it is asked for, so that the worker can take it back when
//! its last use is gone.

use shared_models::{AgentId, CredentialId, TenantId, UserId};

use crate::{app::App, error::Error, store};

/// Records, with the token of a person who may use it, that an agent may use a credential. Its use is to be saved right
/// after.
pub(crate) async fn ask(
    app: &App,
    tenant: TenantId,
    token: &str,
    agent: AgentId,
    owner: UserId,
    credential: CredentialId,
) -> Result<(), Error> {
    let mut tx = app.db.begin(tenant).await?;
    if !store::agent_grant::note(&mut tx, agent, credential).await? {
        return Err(Error::GrantEnding(credential));
    }
    tx.commit().await?;
    app.credsvc.grant(tenant, token, agent, owner, credential).await
}
