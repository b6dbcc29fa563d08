//! `PATCH /v1/agents/{agent_id}`

use axum::extract::State;
use serde_json::Value;
use servicekit::{Body, Caller, IfMatch, Path, Tagged, merge_patch, scope::AgentsWrite};
use shared_models::{AgentId, AgentScope, CredentialId, ProblemBody, VersionChange};

use crate::{
    app::App,
    definition::AgentFields,
    error::Error,
    grants,
    store::{self, agent::Agent},
    visibility::Viewer,
};

/// Change an agent.
///
/// A JSON Merge Patch (RFC 7396): `null` takes a field back to its default. Every change is a new version; runs that are
/// under way keep theirs. With `If-Match`, a version that somebody else has changed meanwhile is not overwritten.
#[utoipa::path(patch, path = "/v1/agents/{agent_id}", tag = "agents",
    params(("agent_id" = AgentId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    security(("token" = ["agents:write"])),
    responses((status = 200, body = Agent), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_agent(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path(agent_id): Path<AgentId>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Agent>, Error> {
    let by = caller.person()?;
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    let mut agent = store::agent::find_for_update(&mut tx, &viewer, agent_id).await?;
    if_match.check(agent.version)?;
    let models = store::model::names(&mut tx).await?;
    let mut fields = patched(&caller, &viewer, &agent, &patch, &models)?;
    if let Some(credential) = newly_used(&agent.fields, &fields) {
        // No network call inside a transaction: look, ask, then look again.
        drop(tx);
        let (tenant, token) = (caller.tenant, caller.token());
        grants::ask(&app, tenant, token, agent_id, agent.owner, credential).await?;
        tx = app.db.begin(caller.tenant).await?;
        agent = store::agent::find_for_update(&mut tx, &viewer, agent_id).await?;
        if_match.check(agent.version)?;
        fields = patched(&caller, &viewer, &agent, &patch, &models)?;
    }
    if fields == agent.fields {
        return Ok(Tagged(agent.version, agent));
    }
    let agent = store::agent::update(&mut tx, &agent, by, &fields, VersionChange::Edited).await?;
    tx.commit().await?;
    Ok(Tagged(agent.version, agent))
}

/// The agent with the patch merged in. Whom it is for is the owner's to say.
fn patched(
    caller: &Caller<AgentsWrite>,
    viewer: &Viewer,
    agent: &Agent,
    patch: &Value,
    models: &[String],
) -> Result<AgentFields, Error> {
    let mut fields: AgentFields = merge_patch(&agent.fields, patch)?;
    if fields.scope == AgentScope::User && patch.get("team_id").is_none() {
        fields.team_id = None;
    }
    let shared_as_before =
        fields.scope == agent.fields.scope && fields.team_id == agent.fields.team_id;
    if shared_as_before {
        fields.check(models).map_err(Error::Invalid)?;
        return Ok(fields);
    }
    if !viewer.owns(agent.owner) {
        return Err(Error::NotOwner(
            "only its owner or an administrator says whom an agent is for".into(),
        ));
    }
    super::complete(caller, fields, models)
}

fn newly_used(before: &AgentFields, after: &AgentFields) -> Option<CredentialId> {
    after.model_credential_id.filter(|credential| before.model_credential_id != Some(*credential))
}
