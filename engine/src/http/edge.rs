//! Agents and tools, over HTTP. One file per verb on a noun.

mod assign_mcp_server;
mod assign_tool;
mod create_agent;
mod create_tool;
mod delete_agent;
mod delete_tool;
mod describe_agent;
mod diff_agent_versions;
mod duplicate_agent;
mod get_agent;
mod get_tool;
mod import_tools;
mod list_agent_tools;
mod list_agent_versions;
mod list_agents;
mod list_tools;
mod lookup_agent;
mod lookup_run;
mod mcp_servers;
mod refresh_mcp_server;
mod restore_agent_version;
mod update_agent;
mod update_tool;

pub(super) use diff_agent_versions::{Difference, compare};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use dbutil::TenantTx;
use serde::Serialize;
use servicekit::{Caller, Created, FieldError};
use shared_models::{AgentScope, Effect, TeamId};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    definition::AgentFields,
    error::Error,
    store,
    tools::{ToolConfig, ToolFields, agent::Target},
    visibility::Viewer,
};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        // agents
        .routes(routes!(list_agents::list_agents, create_agent::create_agent))
        .routes(routes!(
            get_agent::get_agent,
            update_agent::update_agent,
            delete_agent::delete_agent
        ))
        .routes(routes!(list_agent_versions::list_agent_versions))
        .routes(routes!(list_agent_versions::get_agent_version))
        .routes(routes!(diff_agent_versions::diff_agent_versions))
        .routes(routes!(restore_agent_version::restore_agent_version))
        .routes(routes!(duplicate_agent::duplicate_agent))
        .routes(routes!(describe_agent::describe_agent))
        // an agent's tools
        .routes(routes!(list_agent_tools::list_agent_tools))
        .routes(routes!(assign_tool::assign_tool, assign_tool::unassign_tool))
        .routes(routes!(
            assign_mcp_server::assign_mcp_server,
            assign_mcp_server::unassign_mcp_server
        ))
        // tools
        .routes(routes!(list_tools::list_tools, create_tool::create_tool))
        .routes(routes!(get_tool::get_tool, update_tool::update_tool, delete_tool::delete_tool))
        .routes(routes!(import_tools::import_tools))
        // MCP servers
        .routes(routes!(mcp_servers::list_mcp_servers, mcp_servers::create_mcp_server))
        .routes(routes!(
            mcp_servers::get_mcp_server,
            mcp_servers::update_mcp_server,
            mcp_servers::delete_mcp_server
        ))
        .routes(routes!(mcp_servers::trust_mcp_server))
        .routes(routes!(refresh_mcp_server::refresh_mcp_server))
        // for services
        .routes(routes!(lookup_agent::lookup_agent))
        .routes(routes!(lookup_run::lookup_run))
}

/// Puts a team-scoped agent into a team of the caller's, and refuses what cannot be.
pub(super) fn complete<S>(
    caller: &Caller<S>,
    mut fields: AgentFields,
    models: &[String],
) -> Result<AgentFields, Error> {
    let mut errors = fields.check(models).err().unwrap_or_default();
    if fields.scope == AgentScope::Team {
        (fields.team_id, errors) = in_a_team(caller, fields.team_id, errors);
    }
    if errors.is_empty() { Ok(fields) } else { Err(Error::Invalid(errors)) }
}

/// The team of something that is a team's: the one that was said, or the caller's first.
pub(super) fn in_a_team<S>(
    caller: &Caller<S>,
    said: Option<TeamId>,
    mut errors: Vec<FieldError>,
) -> (Option<TeamId>, Vec<FieldError>) {
    let team = said.or_else(|| caller.teams.first().copied());
    match team {
        Some(team) if caller.teams.contains(&team) || caller.is_admin() => {}
        Some(_) => errors.push(FieldError::new("/team_id", "not one of your teams")),
        None => errors.push(FieldError::new("/team_id", "you are in no team: say which")),
    }
    (team, errors)
}

/// Refuses query texts that Postgres cannot compare.
pub(super) fn check_texts(texts: &[(&str, &Option<String>)]) -> Result<(), Error> {
    let bad =
        texts.iter().filter(|(_, text)| text.as_deref().is_some_and(|text| text.contains('\0')));
    let errors: Vec<_> =
        bad.map(|(name, _)| FieldError::new(*name, "must not contain U+0000")).collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

/// Refuses a tool that leads to an agent or a swarm the viewer may not see.
async fn check_reach(tx: &mut TenantTx, viewer: &Viewer, fields: &ToolFields) -> Result<(), Error> {
    check_probe(tx, fields).await?;
    let Ok(ToolConfig::Agent(config)) = ToolConfig::read(fields.kind, &fields.config) else {
        return Ok(());
    };
    let refuse = |pointer: &str, what: &str| {
        let why = format!("there is no such {what}, or it is not yours to see");
        Error::Invalid(vec![FieldError::new(pointer, why)])
    };
    let found = match config.target() {
        Ok(Target::Agent(agent)) => store::agent::find_visible(tx, viewer, agent).await.map(drop),
        Ok(Target::Swarm(swarm)) => store::swarm::find_visible(tx, viewer, swarm).await.map(drop),
        Err(error) => return Err(Error::Invalid(vec![error])),
    };
    found.map_err(|error| match error {
        Error::AgentNotFound(_) => refuse("/config/agent_id", "agent"),
        Error::SwarmNotFound(_) => refuse("/config/swarm_id", "swarm"),
        error => error,
    })
}

/// A probe is a tool that only reads, of one whose calls can be in doubt.
async fn check_probe(tx: &mut TenantTx, fields: &ToolFields) -> Result<(), Error> {
    let Some(probe) = &fields.probe else { return Ok(()) };
    let refuse =
        |pointer: &str, why: &str| Err(Error::Invalid(vec![FieldError::new(pointer, why)]));
    if matches!(fields.effect_in_force(), Effect::Read | Effect::Idempotent) {
        return refuse("/probe", "a call that does no harm is repeated, and never in doubt");
    }
    match store::tool::find(tx, probe.tool_id).await {
        Ok(tool) if tool.effect_in_force == Effect::Read => Ok(()),
        Ok(_) => refuse("/probe/tool_id", "only a tool whose effect is `read`"),
        Err(Error::ToolNotFound(_)) => refuse("/probe/tool_id", "there is no such tool"),
        Err(error) => Err(error),
    }
}

/// 201 with the thing and its first `ETag`.
pub(super) fn created<T: Serialize>(version: i32, thing: T) -> Response {
    ([(header::ETAG, servicekit::etag(version))], Created(thing)).into_response()
}

pub(super) const CREATED: StatusCode = StatusCode::CREATED;
