//! Connections to servers: made when first needed, shared by calls of the same tenant with the same credential, and
//! closed when nobody has asked for a while.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue};
use rmcp::{
    ClientHandler, RoleClient, ServiceError,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, Implementation,
        InitializeRequestParams, ProtocolVersion, Tool,
    },
    service::{
        ClientInitializeError, ClientLifecycleMode, NotificationContext, RunningService,
        serve_client_with_lifecycle,
    },
    transport::{
        StreamableHttpClientTransport, TokioChildProcess,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use servicekit::egress::{Egress, Injection};
use shared_models::{AgentId, CredentialId, McpServerId, TenantId};
use tokio::process::Command;

use super::{Connection, wire::Wire};

/// A connection that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_secs(300);
/// More at once, and the one that has been idle longest goes.
const MOST_SESSIONS: usize = 256;
/// More of a server's tools are not read.
const MOST_TOOLS: usize = 500;

/// Who talks to which server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) tenant: TenantId,
    pub(crate) server: McpServerId,
    /// How it is reached, as JSON: whoever changes that gets another connection.
    pub(crate) connection: String,
    pub(crate) credential: Option<(CredentialId, AgentId)>,
}

/// The connections of this process.
pub(crate) struct McpPool {
    sessions: Mutex<HashMap<Key, (Session, Instant)>>,
    /// The programs that may be run.
    commands: Vec<String>,
}

/// One connection. Cheap to clone; closed with the last clone.
#[derive(Clone)]
pub(crate) struct Session(Arc<Inner>);

struct Inner {
    service: RunningService<RoleClient, Client>,
    /// None for a program.
    wire: Option<Wire>,
    changed: Arc<AtomicBool>,
}

/// Our side of a connection: it offers nothing, and hears that the tools have changed.
#[derive(Clone)]
struct Client {
    changed: Arc<AtomicBool>,
}

impl ClientHandler for Client {
    fn get_info(&self) -> InitializeRequestParams {
        let us = Implementation::new("switchyard", env!("CARGO_PKG_VERSION"));
        InitializeRequestParams::new(ClientCapabilities::default(), us)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changed.store(true, Ordering::Release);
    }
}

impl McpPool {
    /// `commands` are the programs that may be run, by name or path.
    pub(crate) fn new(commands: Vec<String>) -> Self {
        Self { sessions: Mutex::default(), commands }
    }

    /// Whether the operator allows the program.
    pub(crate) fn allows(&self, program: &str) -> bool {
        self.commands.iter().any(|allowed| allowed == program)
    }

    /// The connection for this key, made if there is none. From now on it carries `injection`.
    pub(crate) async fn session(
        &self,
        egress: &Egress,
        key: &Key,
        connection: &Connection,
        injection: Option<Injection>,
    ) -> Result<Session, String> {
        if let Some(session) = self.take_known(key) {
            session.inject(injection);
            return Ok(session);
        }
        let session = self.connect(egress, connection, injection).await?;
        self.sessions().insert(key.clone(), (session.clone(), Instant::now()));
        Ok(session)
    }

    /// A connection that belongs to nobody else, for one use.
    pub(crate) async fn connect(
        &self,
        egress: &Egress,
        connection: &Connection,
        injection: Option<Injection>,
    ) -> Result<Session, String> {
        match (&connection.url, connection.command.split_first()) {
            (Some(url), None) => over_http(egress, url, connection, injection).await,
            (None, Some((program, arguments))) if self.allows(program) => {
                as_child(program, arguments).await
            }
            (None, Some((program, _))) => {
                Err(format!("the operator does not allow the program `{program}`"))
            }
            _ => Err("the server has neither a URL nor a command".into()),
        }
    }

    /// The next call makes a new connection.
    pub(crate) fn forget(&self, key: &Key) {
        self.sessions().remove(key);
    }

    fn take_known(&self, key: &Key) -> Option<Session> {
        let mut sessions = self.sessions();
        let now = Instant::now();
        sessions.retain(|_, (session, used)| {
            now.duration_since(*used) < IDLE && !session.0.service.is_closed()
        });
        if sessions.len() >= MOST_SESSIONS && !sessions.contains_key(key) {
            let oldest = sessions.iter().min_by_key(|(_, (_, used))| *used);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|oldest| sessions.remove(&oldest));
        }
        let (session, used) = sessions.get_mut(key)?;
        *used = now;
        Some(session.clone())
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Key, (Session, Instant)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Calls a tool, once.
    pub(crate) async fn call(
        &self,
        asked: CallToolRequestParams,
    ) -> Result<CallToolResponse, ServiceError> {
        self.0.service.call_tool_once(asked).await
    }

    /// The server's tools, in its order.
    pub(crate) async fn tools(&self) -> Result<Vec<Tool>, String> {
        let tools = self.0.service.peer().list_all_tools().await;
        let tools = tools.map_err(|error| self.redacted(&error.to_string()))?;
        if tools.len() > MOST_TOOLS {
            return Err(format!("the server has {} tools; at most {MOST_TOOLS}", tools.len()));
        }
        Ok(tools)
    }

    /// The protocol's revision, and what the server says about itself.
    pub(crate) fn server(&self) -> (String, Value) {
        let Some(info) = self.0.service.peer().peer_info() else {
            return (String::new(), Value::Null);
        };
        let about = json!({ "name": info.server_info.as_ref().map(|info| &info.name),
            "version": info.server_info.as_ref().map(|info| &info.version) });
        (info.protocol_version.as_str().to_owned(), about)
    }

    /// Whether the server has said since this was last asked that its tools have changed.
    pub(crate) fn has_changed(&self) -> bool {
        self.0.changed.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn redacted(&self, text: &str) -> String {
        self.0.wire.as_ref().map_or_else(|| text.to_owned(), |wire| wire.redactor().text(text))
    }

    fn inject(&self, injection: Option<Injection>) {
        if let Some(wire) = &self.0.wire {
            wire.inject(injection);
        }
    }
}

async fn over_http(
    egress: &Egress,
    url: &str,
    connection: &Connection,
    injection: Option<Injection>,
) -> Result<Session, String> {
    let wire = Wire::new(egress);
    wire.inject(injection);
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    for (name, value) in &connection.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        config.custom_headers.insert(name, value);
    }
    let transport = StreamableHttpClientTransport::with_client(wire.clone(), config);
    let changed = Arc::<AtomicBool>::default();
    let client = Client { changed: changed.clone() };
    let served = serve_client_with_lifecycle(client, transport, lifecycle()).await;
    let redactor = wire.redactor();
    let service = served.map_err(|error| redactor.text(&explained(&error)))?;
    Ok(Session(Arc::new(Inner { service, wire: Some(wire), changed })))
}

/// The program gets no environment but the path, and ends with the connection.
async fn as_child(program: &str, arguments: &[String]) -> Result<Session, String> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().kill_on_drop(true);
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let spawned = TokioChildProcess::builder(command).stderr(Stdio::null()).spawn();
    let (transport, _) = spawned.map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    let changed = Arc::<AtomicBool>::default();
    let client = Client { changed: changed.clone() };
    let served = serve_client_with_lifecycle(client, transport, lifecycle()).await;
    let service = served.map_err(|error| explained(&error))?;
    Ok(Session(Arc::new(Inner { service, wire: None, changed })))
}

/// The newest protocol, and all older ones.
fn lifecycle() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::LATEST],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    }
}

fn explained(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => explained(fallback),
        error => format!("the server could not be greeted: {error}"),
    }
}
