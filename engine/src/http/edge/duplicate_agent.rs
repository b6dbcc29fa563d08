//! `POST /v1/agents/{agent_id}/duplicate`

use std::collections::BTreeSet;

use axum::{body::Bytes, extract::State, response::Response};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use servicekit::{Caller, Once, Path, extract::from_slice, scope::AgentsWrite};
use shared_models::{AgentId, AgentScope, CredentialId, ProblemBody, ToolId, UserId};

use super::create_agent::forget_grants;
use crate::{
    app::App,
    definition::AgentFields,
    error::Error,
    grants,
    store::{
        self,
        agent::Agent,
        agent_tool::{Link, NewLink},
    },
    visibility::Viewer,
};

/// How the copy differs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Duplicate {
    /// `<name> copy` unless said.
    #[serde(default)]
    name: Option<String>,
}

/// The copy.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Duplicated {
    #[serde(flatten)]
    agent: Agent,
    /// Credentials of the original that you may not use: the copy goes without them.
    credentials_left_out: Vec<CredentialId>,
}

/// Copy an agent.
///
/// The copy is yours and private, with the same tools. It starts at version 1 with no runs.
#[utoipa::path(post, path = "/v1/agents/{agent_id}/duplicate", tag = "agents",
    params(("agent_id" = AgentId, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<Duplicate>,
    security(("token" = ["agents:write"])),
    responses((status = 201, body = Duplicated), (status = "default", body = ProblemBody)))]
pub(crate) async fn duplicate_agent(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path(original): Path<AgentId>,
    mut once: Once,
    body: Bytes,
) -> Result<Response, Error> {
    let owner = caller.person()?;
    let asked: Duplicate = if body.is_empty() { Duplicate::default() } else { from_slice(&body)? };
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &asked).await? {
        return Ok(stored);
    }
    let agent = store::agent::find_visible(&mut tx, &Viewer::of(&caller), original).await?;
    let links = store::agent_tool::list(&mut tx, original).await?;
    drop(tx);

    let agent_id = AgentId::mint();
    let left_out = grant(&app, &caller, agent_id, owner, &agent, &links).await?;
    let copied = async {
        let mut tx = app.db.begin(caller.tenant).await?;
        if let Some(stored) = once.begin(&mut tx, &caller, &asked).await? {
            return Ok(stored);
        }
        // One may have been taken away while credentials were granted.
        let tools: Vec<ToolId> = links.iter().map(|link| link.tool_id).collect();
        let tools = store::tool::hold_all(&mut tx, &tools).await?;
        let fields = copy_of(&mut tx, &agent.fields, asked.name.clone(), &left_out).await?;
        let agent = store::agent::insert(&mut tx, agent_id, owner, &fields).await?;
        for link in links.iter().filter(|link| tools.contains(&link.tool_id)) {
            store::agent_tool::put(&mut tx, agent_id, owner, &same(link, &left_out)).await?;
        }
        let version = agent.version;
        store::agent_version::keep_tools(&mut tx, agent_id, version).await?;
        let answer = Duplicated { agent, credentials_left_out: left_out.iter().copied().collect() };
        once.remember(&mut tx, super::CREATED, &answer).await?;
        tx.commit().await?;
        Ok(super::created(version, answer))
    };
    let copied: Result<Response, Error> = copied.await;
    if copied.is_err() {
        forget_grants(&app, caller.tenant, agent_id).await;
    }
    copied
}

/// Lets the copy use the original's credentials as far as the caller may; gives the others.
async fn grant(
    app: &App,
    caller: &Caller<AgentsWrite>,
    copy: AgentId,
    owner: UserId,
    agent: &Agent,
    links: &[Link],
) -> Result<BTreeSet<CredentialId>, Error> {
    let of_tools = links.iter().filter_map(|link| link.credential_id);
    let all: BTreeSet<CredentialId> =
        agent.fields.model_credential_id.into_iter().chain(of_tools).collect();
    let mut left_out = BTreeSet::new();
    for credential in all {
        match grants::ask(app, caller.tenant, caller.token(), copy, owner, credential).await {
            Ok(()) => {}
            Err(Error::CredentialRefused(_)) => {
                left_out.insert(credential);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(left_out)
}

async fn copy_of(
    tx: &mut TenantTx,
    original: &AgentFields,
    name: Option<String>,
    left_out: &BTreeSet<CredentialId>,
) -> Result<AgentFields, Error> {
    let name = match name {
        Some(name) => name,
        None => free_name(tx, &original.name).await?,
    };
    let credential =
        original.model_credential_id.filter(|credential| !left_out.contains(credential));
    let copy = AgentFields {
        name,
        scope: AgentScope::User,
        team_id: None,
        model_credential_id: credential,
        ..original.clone()
    };
    copy.check(&store::model::names(tx).await?).map_err(Error::Invalid)?;
    Ok(copy)
}

/// `x copy`, or the first of `x copy 2`, `x copy 3`, … that nobody has.
async fn free_name(tx: &mut TenantTx, original: &str) -> Result<String, Error> {
    let stem: String = original.chars().take(90).collect();
    let mut name = format!("{stem} copy");
    for number in 2..100 {
        if !store::agent::name_is_taken(tx, &name).await? {
            break;
        }
        name = format!("{stem} copy {number}");
    }
    Ok(name)
}

fn same(link: &Link, left_out: &BTreeSet<CredentialId>) -> NewLink {
    let credential_id = link.credential_id.filter(|credential| !left_out.contains(credential));
    NewLink {
        tool_id: link.tool_id,
        priority: link.priority,
        overrides: link.overrides.clone(),
        config: link.config.clone(),
        credential_hosts: credential_id.map(|_| link.credential_hosts.clone()).unwrap_or_default(),
        credential_id,
    }
}
