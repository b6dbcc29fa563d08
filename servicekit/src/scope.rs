//! Scopes: what a token lets its bearer do, and which role or service gets which.

use shared_models::{Role, Service};

/// A scope as a type, so that a handler's signature says what it needs.
pub trait Scope: Send + Sync + 'static {
    /// `noun:verb`.
    const NAME: &'static str;
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        $($(#[$doc])* #[derive(Clone, Copy, Debug)] pub struct $name;
          impl Scope for $name { const NAME: &'static str = $text; })+
        /// Every scope there is.
        pub const ALL: &[&str] = &[$($text,)+];
    };
}

scopes! {
    /// See agents.
    AgentsRead = "agents:read";
    /// Make and edit agents.
    AgentsWrite = "agents:write";
    /// See tools.
    ToolsRead = "tools:read";
    /// Make and edit tools.
    ToolsWrite = "tools:write";
    /// See runs and what they did.
    RunsRead = "runs:read";
    /// Start and control runs.
    RunsWrite = "runs:write";
    /// See triggers and deliveries.
    TriggersRead = "triggers:read";
    /// Make, edit and fire triggers; replay deliveries.
    TriggersWrite = "triggers:write";
    /// See credentials, masked.
    CredentialsRead = "credentials:read";
    /// Store, change and delete credentials.
    CredentialsWrite = "credentials:write";
    /// See the tenant, its teams and members.
    MembersRead = "members:read";
    /// Change the tenant, its teams and members.
    MembersWrite = "members:write";
    /// See one's API keys.
    KeysRead = "keys:read";
    /// Make and revoke API keys.
    KeysWrite = "keys:write";
    /// Read the audit log and parked events.
    AuditRead = "audit:read";
    /// Change tenant-wide settings; replay parked events.
    SettingsWrite = "settings:write";
    /// Run the platform: make tenants.
    PlatformAdmin = "platform:admin";
    /// Services only: get a secret inside a grant.
    CredentialsResolve = "credentials:resolve";
    /// Services only: record that a person let an agent or trigger use a credential.
    CredentialsGrant = "credentials:grant";
    /// Services only: ask the engine about an agent.
    AgentsLookup = "agents:lookup";
    /// Services only: fetch a delivery's payload.
    PayloadsRead = "payloads:read";
    /// Services only: ask whether somebody is still a member.
    IdentityRead = "identity:read";
}

const READS: &[&str] = &[
    AgentsRead::NAME,
    ToolsRead::NAME,
    RunsRead::NAME,
    TriggersRead::NAME,
    CredentialsRead::NAME,
    MembersRead::NAME,
    KeysRead::NAME,
];
const WRITES: &[&str] = &[
    AgentsWrite::NAME,
    ToolsWrite::NAME,
    RunsWrite::NAME,
    TriggersWrite::NAME,
    CredentialsWrite::NAME,
    KeysWrite::NAME,
];
const ADMINISTERS: &[&str] = &[MembersWrite::NAME, AuditRead::NAME, SettingsWrite::NAME];

/// The scopes a role holds.
pub fn of_role(role: Role) -> Vec<&'static str> {
    let mut scopes = READS.to_vec();
    if role >= Role::Member {
        scopes.extend(WRITES);
    }
    if role >= Role::Admin {
        scopes.extend(ADMINISTERS);
    }
    scopes
}

/// The scopes `caller` holds at `callee`: the whole matrix of who may ask whom for what.
pub const fn of_service(caller: Service, callee: Service) -> &'static [&'static str] {
    match (caller, callee) {
        (Service::Engine | Service::Eventsvc, Service::Credsvc) => &[
            CredentialsResolve::NAME,
            CredentialsGrant::NAME,
            CredentialsRead::NAME,
            CredentialsWrite::NAME,
        ],
        (Service::Eventsvc, Service::Engine) => &[AgentsLookup::NAME],
        (Service::Engine, Service::Eventsvc) => &[PayloadsRead::NAME],
        (Service::Engine | Service::Eventsvc | Service::Credsvc, Service::Gateway) => {
            &[IdentityRead::NAME]
        }
        _ => &[],
    }
}
