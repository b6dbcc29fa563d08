//! `POST /v1/agents/{agent_id}/versions/{version}/restore`

use std::collections::BTreeSet;

use axum::extract::State;
use dbutil::TenantTx;
use serde::Serialize;
use servicekit::{Caller, IfMatch, Path, Tagged, scope::AgentsWrite};
use shared_models::{AgentId, CredentialId, ProblemBody, ToolId, VersionChange};

use crate::{
    app::App,
    error::Error,
    grants,
    store::{
        self,
        agent::Agent,
        agent_version::{self, AgentVersion},
    },
    visibility::Viewer,
};

/// The agent as it is again.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Restored {
    #[serde(flatten)]
    agent: Agent,
    /// Tools that the version had and that are no longer there.
    tools_left_out: Vec<String>,
}

/// Bring an earlier version of an agent back, with its tools.
///
/// That is a new version; nothing is lost. Credentials that the agent does not use now must be ones that you may use. Whom
/// the agent is for stays as it is unless you are its owner or an administrator.
#[utoipa::path(post, path = "/v1/agents/{agent_id}/versions/{version}/restore", tag = "agents",
    params(("agent_id" = AgentId, Path), ("version" = i32, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["agents:write"])),
    responses((status = 200, body = Restored), (status = "default", body = ProblemBody)))]
pub(crate) async fn restore_agent_version(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path((agent_id, version)): Path<(AgentId, i32)>,
    if_match: IfMatch,
) -> Result<Tagged<Restored>, Error> {
    let by = caller.person()?;
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    let (mut agent, mut wanted) = look(&mut tx, &viewer, agent_id, version).await?;
    if_match.check(agent.version)?;
    let newly_used = newly_used(&mut tx, &agent, &wanted).await?;
    if !newly_used.is_empty() {
        // No network call inside a transaction: look, ask, then look again.
        drop(tx);
        let (tenant, token, owner) = (caller.tenant, caller.token(), agent.owner);
        for credential in newly_used {
            grants::ask(&app, tenant, token, agent_id, owner, credential).await?;
        }
        tx = app.db.begin(caller.tenant).await?;
        (agent, wanted) = look(&mut tx, &viewer, agent_id, version).await?;
        if_match.check(agent.version)?;
    }
    let mut fields = wanted.fields.clone();
    let models = store::model::names(&mut tx).await?;
    if viewer.owns(agent.owner) {
        fields = super::complete(&caller, fields, &models)?;
    } else {
        (fields.scope, fields.team_id) = (agent.fields.scope, agent.fields.team_id);
        fields.check(&models).map_err(Error::Invalid)?;
    }
    hold_tools(&mut tx, agent_id, &wanted).await?;
    agent_version::restore_tools(&mut tx, agent_id, version, by).await?;
    let tools_left_out = left_out(&mut tx, agent_id, &wanted).await?;
    let agent = store::agent::update(&mut tx, &agent, by, &fields, VersionChange::Restored).await?;
    tx.commit().await?;
    Ok(Tagged(agent.version, Restored { agent, tools_left_out }))
}

async fn look(
    tx: &mut TenantTx,
    viewer: &Viewer,
    agent_id: AgentId,
    version: i32,
) -> Result<(Agent, AgentVersion), Error> {
    let agent = store::agent::find_for_update(tx, viewer, agent_id).await?;
    let wanted = agent_version::find(tx, agent_id, version).await?;
    Ok((agent, wanted.ok_or(Error::VersionNotFound(version))?))
}

async fn newly_used(
    tx: &mut TenantTx,
    agent: &Agent,
    wanted: &AgentVersion,
) -> Result<BTreeSet<CredentialId>, Error> {
    let present = agent_version::find(tx, agent.agent_id, agent.version).await?;
    let present = present.ok_or(Error::VersionNotFound(agent.version))?.credentials();
    Ok(wanted.credentials().into_iter().filter(|id| !present.contains(id)).collect())
}

/// The tools that go and those that come back: nobody takes one away meanwhile.
async fn hold_tools(
    tx: &mut TenantTx,
    agent_id: AgentId,
    wanted: &AgentVersion,
) -> Result<(), Error> {
    let links = store::agent_tool::list(tx, agent_id).await?;
    let back = wanted.tools.iter().filter_map(|tool| tool["tool_id"].as_str()?.parse().ok());
    let tools: Vec<ToolId> = links.into_iter().map(|link| link.tool_id).chain(back).collect();
    store::tool::hold_all(tx, &tools).await?;
    Ok(())
}

/// The names of tools that could not come back. Two that have come to share a name cannot both be there.
async fn left_out(
    tx: &mut TenantTx,
    agent_id: AgentId,
    wanted: &AgentVersion,
) -> Result<Vec<String>, Error> {
    let links = store::agent_tool::list(tx, agent_id).await?;
    let mut names = BTreeSet::new();
    if let Some(twice) = links.iter().find(|link| !names.insert(&link.name)) {
        return Err(Error::DuplicateToolName(twice.name.clone()));
    }
    let back: BTreeSet<String> = links.iter().map(|link| link.tool_id.to_string()).collect();
    let gone = wanted
        .tools
        .iter()
        .filter(|tool| tool["tool_id"].as_str().is_none_or(|id| !back.contains(id)));
    Ok(gone.map(|tool| tool["tool_name"].as_str().unwrap_or_default().to_owned()).collect())
}
