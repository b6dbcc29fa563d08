//! A tool of a Model Context Protocol server.
//!
//! Invariants: a server is reached through the egress client like everything else, its secret is put on the wire there
//! and cut out of whatever it says, and what it says about its own tools is believed only where an administrator has
//! said so. A program is started only if the operator lists it.

mod answer;
pub(crate) mod discover;
mod pool;
mod server;
mod wire;

use std::{collections::BTreeMap, time::Duration};

use rmcp::{
    ServiceError,
    model::{CallToolRequestParams, CallToolResponse},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::egress::Injection;
use shared_models::McpServerId;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::http::{self, CredentialPlace};
use crate::{
    app::App,
    clients::credsvc::Wants,
    snapshot::SnapshotTool,
    toolbox::{CallCx, NotNow, Outcome, Unready},
};

pub(crate) use pool::{Key, McpPool, Session};
pub(crate) use server::ServerFields;

/// Which tool of which server, and how the server is reached. Made by a refresh of the server, never by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct McpConfig {
    pub(crate) server_id: McpServerId,
    /// As the server names it.
    pub(crate) tool: String,
    pub(crate) connection: Connection,
}

/// How a server is reached: over HTTP, or as a program on this machine where the operator allows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connection {
    /// Where it speaks streamable HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The program and its arguments; only those that the operator lists may be run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) command: Vec<String>,
    /// Sent with every request. Never a secret: that is what credentials are for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// Where a credential goes. Without this none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<CredentialPlace>,
}

impl Connection {
    /// The host that calls reach.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let url = self.url.as_ref().and_then(|url| url::Url::parse(url).ok());
        let place = url.and_then(|url| {
            let host = url.host_str()?.to_owned();
            Some(url.port().map_or(host.clone(), |port| format!("{host}:{port}")))
        });
        place.into_iter().collect()
    }
}

/// Calls the tool. `sent` is asked when there is a connection, right before the call itself leaves.
pub(crate) async fn call(
    app: &App,
    cx: &CallCx,
    tool: &SnapshotTool,
    arguments: Value,
    sent: impl AsyncFnOnce() -> Result<(), NotNow>,
) -> Outcome {
    let until = Instant::now() + Duration::from_millis(tool.timeout_ms.into());
    let config: McpConfig = match serde_json::from_value(tool.config.clone()) {
        Ok(config) => config,
        Err(error) => {
            return Outcome::Refused(format!("the tool's configuration is broken: {error}"));
        }
    };
    let Value::Object(arguments) = arguments else {
        return Outcome::Refused("the arguments are not an object".into());
    };
    let prepared = tokio::time::timeout_at(until, prepare(app, cx, tool, &config)).await;
    let (key, session) = match prepared {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(why)) => return why.into(),
        Err(_) => return Outcome::Refused("the server could not be reached in time".into()),
    };
    if sent().await.is_err() {
        return Outcome::Refused("not sent: this worker no longer owns the run".into());
    }
    let asked = CallToolRequestParams::new(config.tool.clone()).with_arguments(arguments);
    let outcome = match tokio::time::timeout_at(until, session.call(asked)).await {
        Ok(Ok(CallToolResponse::Complete(result))) => answer::outcome(result),
        Ok(Ok(CallToolResponse::InputRequired(_))) => Outcome::Failed(
            "the server asks for more than the arguments: nobody here answers".into(),
        ),
        Ok(Ok(_)) => Outcome::Unknown("the server goes on with it on its own".into()),
        Ok(Err(ServiceError::McpError(error))) => {
            Outcome::Failed(session.redacted(&format!("the server refused: {}", error.message)))
        }
        Ok(Err(error)) => {
            app.mcp.forget(&key);
            wire::sort(&session, error)
        }
        Err(_) => {
            app.mcp.forget(&key);
            Outcome::Unknown("the server did not answer in time".into())
        }
    };
    if session.has_changed() {
        discover::again(app, cx.tenant, config.server_id, &session).await;
    }
    outcome
}

async fn prepare(
    app: &App,
    cx: &CallCx,
    tool: &SnapshotTool,
    config: &McpConfig,
) -> Result<(Key, Session), Unready> {
    let attached = tool.credential_id.zip(config.connection.credential.as_ref());
    let hosts = config.connection.hosts();
    if attached.is_some() && !hosts.iter().all(|host| tool.credential_hosts.contains(host)) {
        return Err(format!("{} is not among the allowed hosts", hosts.join(", ")).into());
    }
    let injection = match attached {
        None => None,
        Some((credential, place)) => {
            let patience = Duration::from_millis(tool.timeout_ms.into()) / 2;
            let purpose = format!("tool:{}", tool.name);
            Some(injection(app, &cx.wants(credential), place, &purpose, &hosts, patience).await?)
        }
    };
    let key = Key {
        tenant: cx.tenant,
        server: config.server_id,
        connection: serde_json::to_string(&config.connection).unwrap_or_default(),
        // Whoever has another credential, or another owner, has a session of their own.
        credential: attached.map(|(credential, _)| (credential, cx.agent_id)),
    };
    let session = app.mcp.session(&app.egress, &key, &config.connection, injection).await?;
    Ok((key, session))
}

/// The secret, for where it goes.
pub(crate) async fn injection(
    app: &App,
    wants: &Wants,
    place: &CredentialPlace,
    purpose: &str,
    hosts: &[String],
    patience: Duration,
) -> Result<Injection, Unready> {
    let host = hosts.first().map(|host| host.split(':').next().unwrap_or(host).to_owned());
    let secret = http::secret(app, wants, purpose, host, patience).await?;
    Ok(http::injection(place, &secret)?)
}
