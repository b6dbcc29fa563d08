//! What an engine is told.

use std::time::Duration;

use agentcore::models::{anthropic::Anthropic, gemini::Gemini, openai::OpenAi};
use servicekit::{Env, ServiceConfig, egress::EgressPolicy};
use shared_models::Service;
use url::Url;

use crate::crash_points::CrashPoints;
use crate::models::{ModelsConfig, ProviderConfig};
use crate::webhooks::WebhookConfig;

/// The engine's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service is told.
    pub service: ServiceConfig,
    /// `credsvc`, for secrets.
    pub credsvc_url: Url,
    /// `eventsvc`, for payloads too large for an event.
    pub eventsvc_url: Url,
    /// The gateway's internal listener, for who is still a member.
    pub gateway_url: Url,
    /// Where tools may go besides public addresses.
    pub egress: EgressPolicy,
    /// Where models are, and keys for tenants that bring none.
    pub models: ModelsConfig,
    /// The programs of this machine that may be run as MCP servers.
    pub mcp_commands: Vec<String>,
    /// How runs are carried out.
    pub runs: RunConfig,
    /// How tenants are told of them.
    pub webhooks: WebhookConfig,
}

/// How runs are carried out.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Runs this process works on at once.
    pub slots: usize,
    /// Runs of one tenant under way at once, in all processes together.
    pub tenant_concurrency: i32,
    /// How long a silent process keeps its runs.
    pub lease: Duration,
    /// How often the sweeper looks for what a lost bell left behind.
    pub sweep: Duration,
    /// Days that the content of an ended run is kept.
    pub content_days: i32,
    /// Days that an ended run itself is kept.
    pub days: i32,
    /// Days that a conversation is kept after something was last said in it.
    pub conversation_days: i32,
    /// Days that what an agent was told to remember is kept after it was last written; for good without it.
    pub memory_days: Option<i32>,
    /// Days that counts of what was used are kept.
    pub usage_days: i32,
    /// How often old runs are looked for.
    pub prune: Duration,
    /// How long a run may take when nobody says otherwise.
    pub deadline: Duration,
    /// Claims without a new record after which a run is given up as poison.
    pub max_claims: i32,
    /// How long token deltas are gathered before viewers get them.
    pub coalesce: Duration,
    /// How often an open stream asks whether its viewer is still a member.
    pub recheck: Duration,
    /// Journal committers; each run belongs to one of them.
    pub journal_shards: usize,
    /// Appends waiting for a committer before a new one has to wait.
    pub journal_queue: usize,
    /// Where tests of this crate end the process; nowhere otherwise.
    pub crash_points: CrashPoints,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            slots: 512,
            tenant_concurrency: 64,
            lease: Duration::from_secs(10),
            sweep: Duration::from_secs(1),
            content_days: 30,
            days: 400,
            conversation_days: 180,
            memory_days: None,
            usage_days: 1100,
            prune: Duration::from_secs(60),
            deadline: Duration::from_secs(3600),
            max_claims: 5,
            coalesce: Duration::from_millis(30),
            recheck: Duration::from_secs(30),
            journal_shards: 1,
            journal_queue: 4096,
            crash_points: CrashPoints::default(),
        }
    }
}

impl Config {
    /// Reads the settings; problems are kept in `env`.
    pub fn read(env: &mut Env) -> Self {
        Self {
            service: ServiceConfig::read(env, Service::Engine),
            credsvc_url: env.parse("SWITCHYARD_CREDSVC_URL", "http://127.0.0.1:8081"),
            eventsvc_url: env.parse("SWITCHYARD_EVENTSVC_URL", "http://127.0.0.1:8082"),
            gateway_url: env.parse("SWITCHYARD_GATEWAY_INTERNAL_URL", "http://127.0.0.1:8090"),
            egress: egress(env),
            models: ModelsConfig {
                openai: provider(env, ("OPENAI_API_KEY", "OPENAI_BASE_URL"), OpenAi::BASE_URL),
                anthropic: provider(
                    env,
                    ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
                    Anthropic::BASE_URL,
                ),
                gemini: provider(env, ("GEMINI_API_KEY", "GEMINI_BASE_URL"), Gemini::BASE_URL),
            },
            mcp_commands: commands(env),
            runs: RunConfig::read(env),
            webhooks: WebhookConfig::read(env),
        }
    }
}

fn provider(env: &mut Env, (key, base_url): (&str, &str), usual: &str) -> ProviderConfig {
    let key = env.optional_secret(key);
    let base_url: Url = env.parse(base_url, usual);
    let usual = base_url.as_str().trim_end_matches('/') == usual;
    ProviderConfig { key, base_url, usual }
}

/// Names or paths, separated by commas; none unless the operator says so.
fn commands(env: &mut Env) -> Vec<String> {
    let list = env.text("SWITCHYARD_MCP_COMMANDS", "");
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(str::to_owned).collect()
}

fn egress(env: &mut Env) -> EgressPolicy {
    let name = "SWITCHYARD_EGRESS_ALLOW";
    let rules = env.text(name, "");
    EgressPolicy::parse(&rules).unwrap_or_else(|error| {
        env.refuse(name, error);
        EgressPolicy::default()
    })
}

fn days(env: &mut Env, name: &'static str, default: i32, least: u32) -> i32 {
    let days: u32 = env.parse(name, &default.to_string());
    if !(least..=3650).contains(&days) {
        env.refuse(name, format!("must be between {least} and 3650"));
    }
    days as i32
}

/// How many days content and runs are kept.
fn kept(env: &mut Env, default: &RunConfig) -> (i32, i32) {
    const CONTENT: &str = "SWITCHYARD_RUN_CONTENT_DAYS";
    const RUNS: &str = "SWITCHYARD_RUN_DAYS";
    let content: u32 = env.parse(CONTENT, &default.content_days.to_string());
    let runs: u32 = env.parse(RUNS, &default.days.to_string());
    if !(1..=3650).contains(&content) {
        env.refuse(CONTENT, "must be between 1 and 3650");
    }
    if !(content..=3650).contains(&runs) {
        env.refuse(RUNS, format!("must be between {CONTENT} and 3650"));
    }
    (content as i32, runs as i32)
}

/// How many days what agents remember is kept, if not for good.
fn memory(env: &mut Env) -> Option<i32> {
    const NAME: &str = "SWITCHYARD_MEMORY_DAYS";
    let days: Option<u32> = env.optional(NAME);
    if days.is_some_and(|days| !(1..=3650).contains(&days)) {
        env.refuse(NAME, "must be between 1 and 3650");
    }
    days.map(|days| days as i32)
}

impl RunConfig {
    fn read(env: &mut Env) -> Self {
        let default = Self::default();
        let kept = kept(env, &default);
        let conversation_days =
            days(env, "SWITCHYARD_CONVERSATION_DAYS", default.conversation_days, 1);
        let memory_days = memory(env);
        // Two months whole, so that this month can be compared with the last one.
        let usage_days = days(env, "SWITCHYARD_USAGE_DAYS", default.usage_days, 62);
        let mut number = |name: &str, default: u64| env.parse::<u64>(name, &default.to_string());
        Self {
            slots: number("SWITCHYARD_RUN_SLOTS", default.slots as u64) as usize,
            tenant_concurrency: number("SWITCHYARD_TENANT_RUNS", default.tenant_concurrency as u64)
                as i32,
            lease: Duration::from_millis(number("SWITCHYARD_WORKER_LEASE_MS", 10_000)),
            sweep: Duration::from_millis(number("SWITCHYARD_SWEEP_MS", 1_000)),
            content_days: kept.0,
            days: kept.1,
            conversation_days,
            memory_days,
            usage_days,
            prune: Duration::from_millis(number("SWITCHYARD_PRUNE_MS", 60_000).max(1)),
            deadline: Duration::from_secs(number("SWITCHYARD_RUN_DEADLINE_SECONDS", 3_600)),
            max_claims: number("SWITCHYARD_RUN_MAX_CLAIMS", default.max_claims as u64) as i32,
            coalesce: Duration::from_millis(number("SWITCHYARD_DELTA_MS", 30)),
            recheck: Duration::from_millis(number("SWITCHYARD_RECHECK_MS", 30_000)),
            journal_shards: number("SWITCHYARD_JOURNAL_SHARDS", default.journal_shards as u64)
                .max(1) as usize,
            journal_queue: number("SWITCHYARD_JOURNAL_QUEUE", default.journal_queue as u64).max(1)
                as usize,
            crash_points: default.crash_points,
        }
    }
}
