//! Settings, each with its default beside it.

use ipnet::IpNet;
use secrecy::ExposeSecret as _;
use servicekit::{Env, ServiceConfig, egress::EgressPolicy};
use shared_models::Service;
use url::Url;

use crate::{
    intake::{Apps, Pace, System},
    listening::Providers,
    verify::{Previous, Scheme, Secret, Verify},
};

/// Where Google publishes the keys it signs tokens with.
pub const GOOGLE_KEYS_URL: &str = "https://www.googleapis.com/oauth2/v3/certs";

/// Where GitHub's interface is.
pub const GITHUB_API_URL: &str = "https://api.github.com";
/// Where HubSpot's interface is.
pub const HUBSPOT_API_URL: &str = "https://api.hubapi.com";
/// Where Slack's interface is.
pub const SLACK_API_URL: &str = "https://slack.com/api";
/// Where Stripe's interface is.
pub const STRIPE_API_URL: &str = "https://api.stripe.com";
/// Where Gmail's interface is.
pub const GMAIL_API_URL: &str = "https://gmail.googleapis.com";

/// How eventsvc is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service is told.
    pub service: ServiceConfig,
    /// The vault.
    pub credsvc_url: Url,
    /// The engine.
    pub engine_url: Url,
    /// Where the world reaches the platform; some providers sign it.
    pub public_url: Option<Url>,
    /// Proxies that are believed about who is behind them, besides those on this machine.
    pub trusted_proxies: Vec<IpNet>,
    /// How often one address may come to hooks; none is as often as it likes.
    pub pace: Option<Pace>,
    /// Which private addresses outgoing calls may reach.
    pub egress: EgressPolicy,
    /// Where the providers' interfaces are.
    pub providers: Providers,
    /// The secrets of the platform's own apps at providers, which deliver to `/v1/hooks/{system}`.
    pub apps: Apps,
    /// Authorities that mail servers' certificates may come from besides the public ones, as PEM.
    pub imap_ca: Option<String>,
    /// How pushes to `/v1/hooks/gmail` prove themselves; without it there is no such address.
    pub gmail_push: Option<Verify>,
    /// Where Google's public keys are.
    pub google_keys_url: Url,
    /// What intake and housekeeping may use.
    pub limits: Limits,
}

/// What intake and housekeeping may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deliveries that may wait to be stored before 503 is answered.
    pub queue: usize,
    /// Mebibytes of deliveries that may wait.
    pub queue_mib: usize,
    /// Days that deliveries are kept.
    pub retention_days: u32,
    /// Minutes without a word of a run after which an acknowledged firing is published again.
    pub unheard_minutes: u32,
    /// Seconds between two looks at what is lost or old.
    pub housekeeping_seconds: u32,
    /// Seconds after which the listeners of a replica that died are taken over.
    pub lease_seconds: u32,
    /// Mailboxes at which one process idles, or tries to, at most.
    pub idle_connections: u32,
    /// Seconds after which a mailbox is idled at anew: servers hang up on who has for half an hour.
    pub idle_seconds: u32,
    /// Milliseconds after which the scheduler looks at the timers anew when nothing wakes it earlier.
    pub timer_poll_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 4096,
            queue_mib: 64,
            retention_days: 30,
            unheard_minutes: 10,
            housekeeping_seconds: 60,
            lease_seconds: 30,
            idle_connections: 500,
            idle_seconds: 25 * 60,
            timer_poll_ms: 1000,
        }
    }
}

impl Config {
    /// Reads the settings; problems stay in `env`.
    pub fn read(env: &mut Env) -> Self {
        let config = Self {
            service: ServiceConfig::read(env, Service::Eventsvc),
            credsvc_url: env.parse("SWITCHYARD_CREDSVC_URL", "http://127.0.0.1:8081"),
            engine_url: env.parse("SWITCHYARD_ENGINE_URL", "http://127.0.0.1:8083"),
            public_url: env.optional("SWITCHYARD_PUBLIC_URL"),
            trusted_proxies: networks(env),
            pace: pace(env),
            egress: egress(env),
            providers: Providers {
                gmail: env.parse("SWITCHYARD_GMAIL_API_URL", GMAIL_API_URL),
                github: env.parse("SWITCHYARD_GITHUB_API_URL", GITHUB_API_URL),
                hubspot: env.parse("SWITCHYARD_HUBSPOT_API_URL", HUBSPOT_API_URL),
                slack: env.parse("SWITCHYARD_SLACK_API_URL", SLACK_API_URL),
                stripe: env.parse("SWITCHYARD_STRIPE_API_URL", STRIPE_API_URL),
            },
            apps: apps(env),
            imap_ca: imap_ca(env),
            gmail_push: gmail_push(env),
            google_keys_url: env.parse("SWITCHYARD_GOOGLE_KEYS_URL", GOOGLE_KEYS_URL),
            limits: Limits {
                queue: env.parse("SWITCHYARD_INTAKE_QUEUE", "4096"),
                queue_mib: env.parse("SWITCHYARD_INTAKE_QUEUE_MIB", "64"),
                retention_days: env.parse("SWITCHYARD_DELIVERY_RETENTION_DAYS", "30"),
                unheard_minutes: env.parse("SWITCHYARD_UNHEARD_MINUTES", "10"),
                housekeeping_seconds: env.parse("SWITCHYARD_HOUSEKEEPING_SECONDS", "60"),
                lease_seconds: env.parse("SWITCHYARD_LISTENER_LEASE_SECONDS", "30"),
                idle_connections: env.parse("SWITCHYARD_LISTENER_IDLE_CONNECTIONS", "500"),
                idle_seconds: env.parse("SWITCHYARD_LISTENER_IDLE_SECONDS", "1500"),
                timer_poll_ms: env.parse("SWITCHYARD_TIMER_POLL_MS", "1000"),
            },
        };
        if config.limits.queue == 0 {
            env.refuse("SWITCHYARD_INTAKE_QUEUE", "must be at least 1");
        }
        if config.limits.queue_mib < 32 {
            env.refuse(
                "SWITCHYARD_INTAKE_QUEUE_MIB",
                "must be at least 32, or the largest delivery never fits",
            );
        }
        if !(1..=3650).contains(&config.limits.retention_days) {
            env.refuse("SWITCHYARD_DELIVERY_RETENTION_DAYS", "must be between 1 and 3650");
        }
        if config.limits.housekeeping_seconds == 0 {
            env.refuse("SWITCHYARD_HOUSEKEEPING_SECONDS", "must be at least 1");
        }
        if !(1..=1440).contains(&config.limits.unheard_minutes) {
            env.refuse("SWITCHYARD_UNHEARD_MINUTES", "must be between 1 and 1440");
        }
        if !(5..=600).contains(&config.limits.lease_seconds) {
            env.refuse("SWITCHYARD_LISTENER_LEASE_SECONDS", "must be between 5 and 600");
        }
        // RFC 2177 wants it anew at least every 29 minutes.
        if !(10..=1740).contains(&config.limits.idle_seconds) {
            env.refuse("SWITCHYARD_LISTENER_IDLE_SECONDS", "must be between 10 and 1740");
        }
        if !(10..=60_000).contains(&config.limits.timer_poll_ms) {
            env.refuse("SWITCHYARD_TIMER_POLL_MS", "must be between 10 and 60000");
        }
        config
    }
}

fn networks(env: &mut Env) -> Vec<IpNet> {
    const NAME: &str = "SWITCHYARD_TRUSTED_PROXIES";
    let text = env.text(NAME, "");
    let mut networks = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match crate::options::network(part) {
            Some(network) => networks.push(network),
            None => env.refuse(NAME, format!("`{part}` is neither a network nor an address")),
        }
    }
    networks
}

fn pace(env: &mut Env) -> Option<Pace> {
    let per_second = env.parse("SWITCHYARD_HOOK_RATE_PER_SECOND", "1000");
    let burst = env.parse("SWITCHYARD_HOOK_RATE_BURST", "2000");
    if per_second > 0 && burst == 0 {
        env.refuse("SWITCHYARD_HOOK_RATE_BURST", "must be at least 1");
    }
    (per_second > 0).then_some(Pace { per_second, burst })
}

fn egress(env: &mut Env) -> EgressPolicy {
    const NAME: &str = "SWITCHYARD_EGRESS_ALLOW";
    let rules = env.text(NAME, "");
    EgressPolicy::parse(&rules).unwrap_or_else(|error| {
        env.refuse(NAME, error);
        EgressPolicy::default()
    })
}

/// An app's secret, and after a comma the one before it while both are believed.
fn apps(env: &mut Env) -> Apps {
    let names = [
        (System::Hubspot, "SWITCHYARD_HUBSPOT_APP_SECRET"),
        (System::Slack, "SWITCHYARD_SLACK_APP_SECRET"),
        (System::Github, "SWITCHYARD_GITHUB_APP_SECRET"),
        (System::Stripe, "SWITCHYARD_STRIPE_APP_SECRET"),
    ];
    let mut apps = Apps::default();
    for (system, name) in names {
        let Some(text) = env.optional_secret(name) else { continue };
        let mut parts = text.expose_secret().split(',').map(str::trim);
        let secret = parts.next().unwrap_or_default();
        let previous = parts.next();
        if secret.is_empty() || previous.is_some_and(str::is_empty) || parts.next().is_some() {
            env.refuse(
                name,
                "must be a secret, or two with a comma between them: the new and the old",
            );
            continue;
        }
        let previous =
            previous.map(|secret| Previous { secret: secret.to_owned().into(), until: None });
        let secret = secret.to_owned().into();
        apps.secrets.insert(system, Secret { secret, username: None, previous });
    }
    let name = "SWITCHYARD_SLACK_APP_ID";
    apps.slack_app = Some(env.text(name, "")).filter(|id| !id.is_empty());
    if apps
        .slack_app
        .as_ref()
        .is_some_and(|id| !id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    {
        env.refuse(name, "must be the app's id as Slack shows it, such as A0123ABCDEF");
    }
    apps
}

fn imap_ca(env: &mut Env) -> Option<String> {
    const NAME: &str = "SWITCHYARD_IMAP_CA_FILE";
    let path: String = env.optional(NAME)?;
    match std::fs::read_to_string(&path) {
        Ok(pem) => Some(pem),
        Err(error) => {
            env.refuse(NAME, format!("cannot be read: {error}"));
            None
        }
    }
}

fn gmail_push(env: &mut Env) -> Option<Verify> {
    let (name, other) = ("SWITCHYARD_GMAIL_PUSH_AUDIENCE", "SWITCHYARD_GMAIL_PUSH_ACCOUNT");
    let said = |text: String| Some(text).filter(|text| !text.is_empty());
    let (audience, service_account) = (said(env.text(name, "")), said(env.text(other, "")));
    if audience.is_some() != service_account.is_some() {
        env.refuse(name, format!("{name} and {other} go together"));
    }
    let scheme = Scheme::GoogleOidc;
    audience.is_some().then(|| Verify { scheme, audience, service_account, ..Verify::default() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(vars: &[(&str, &str)]) -> (Config, Vec<String>) {
        let vars: BTreeMap<String, String> =
            vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut env = Env::from_map(vars);
        let config = Config::read(&mut env);
        let problems = env.finish().err().unwrap_or_default();
        (config, problems.into_iter().map(|problem| problem.name).collect())
    }

    #[test]
    fn an_address_may_come_so_often_unless_the_operator_says_otherwise() {
        let (usual, _) = read(&[]);
        let (other, _) =
            read(&[("SWITCHYARD_HOOK_RATE_PER_SECOND", "5"), ("SWITCHYARD_HOOK_RATE_BURST", "9")]);
        let (none, _) = read(&[("SWITCHYARD_HOOK_RATE_PER_SECOND", "0")]);

        assert_eq!(usual.pace, Some(Pace { per_second: 1000, burst: 2000 }));
        assert_eq!(other.pace, Some(Pace { per_second: 5, burst: 9 }));
        assert_eq!(none.pace, None);
    }

    #[test]
    fn a_mailbox_is_idled_at_anew_before_a_server_may_hang_up() {
        let (usual, problems) = read(&[]);

        assert_eq!((usual.limits.idle_seconds, Limits::default().idle_seconds), (1500, 1500));
        let name = "SWITCHYARD_LISTENER_IDLE_SECONDS";
        assert!(!problems.iter().any(|problem| problem == name));
        assert!(!read(&[(name, "1740")]).1.iter().any(|problem| problem == name));
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let wrong = [
            ("SWITCHYARD_HOOK_RATE_BURST", "0"),
            ("SWITCHYARD_HOOK_RATE_PER_SECOND", "often"),
            ("SWITCHYARD_TRUSTED_PROXIES", "everybody"),
            ("SWITCHYARD_INTAKE_QUEUE", "0"),
            ("SWITCHYARD_LISTENER_LEASE_SECONDS", "1"),
            ("SWITCHYARD_LISTENER_IDLE_SECONDS", "1741"),
            ("SWITCHYARD_SLACK_APP_ID", "my app"),
        ];
        for (name, value) in wrong {
            let (_, problems) = read(&[(name, value)]);
            assert!(problems.iter().any(|problem| problem == name), "{name}: {problems:?}");
        }
    }
}
