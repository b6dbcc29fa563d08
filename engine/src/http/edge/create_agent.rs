//! `POST /v1/agents`

use axum::{extract::State, response::Response};
use servicekit::{Body, Caller, Once, scope::AgentsWrite};
use shared_models::{AgentId, ProblemBody};

use crate::{
    app::App,
    definition::AgentFields,
    error::Error,
    grants,
    store::{self, agent::Agent},
};

/// Make an agent.
///
/// It is yours, and acts in your name. A model credential must be one that you may use.
#[utoipa::path(post, path = "/v1/agents", tag = "agents", request_body = AgentFields,
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["agents:write"])),
    responses((status = 201, body = Agent), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_agent(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    mut once: Once,
    Body(asked): Body<AgentFields>,
) -> Result<Response, Error> {
    let owner = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let fields = super::complete(&caller, asked.clone(), &store::model::names(&mut tx).await?)?;
    drop(tx);
    let agent_id = AgentId::mint();
    if let Some(credential) = fields.model_credential_id {
        let mut tx = app.db.begin(caller.tenant).await?;
        if let Some(stored) = once.begin(&mut tx, &caller, &asked).await? {
            return Ok(stored);
        }
        drop(tx);
        grants::ask(&app, caller.tenant, caller.token(), agent_id, owner, credential).await?;
    }
    let made = async {
        let mut tx = app.db.begin(caller.tenant).await?;
        if let Some(stored) = once.begin(&mut tx, &caller, &asked).await? {
            return Ok(stored);
        }
        let agent = store::agent::insert(&mut tx, agent_id, owner, &fields).await?;
        once.remember(&mut tx, super::CREATED, &agent).await?;
        tx.commit().await?;
        Ok(super::created(agent.version, agent))
    };
    let made: Result<Response, Error> = made.await;
    if made.is_err() && fields.model_credential_id.is_some() {
        forget_grants(&app, caller.tenant, agent_id).await;
    }
    made
}

/// Takes back what an agent was granted that is not there. A grant to nobody is harmless, so failing is no error.
pub(super) async fn forget_grants(app: &App, tenant: shared_models::TenantId, agent: AgentId) {
    if let Err(error) = app.credsvc.revoke_all(tenant, agent).await {
        tracing::warn!(%error, %agent, "grants of an agent could not be taken back");
    }
}
