//! Configuration from the environment: one name per knob, a default beside it, all problems reported together.

mod env_file;

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, SocketAddr},
    path::Path,
    str::FromStr,
    time::Duration,
};

use dbutil::DbConfig;
use pubsub::{NatsConfig, RelayConfig};
use secrecy::SecretString;
use shared_models::Service;
use url::Url;

/// One setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct ConfigProblem {
    /// The environment variable.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A setting as it took effect, for `switchyard config`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Effective {
    /// The environment variable.
    pub name: String,
    /// Its value; `********` for secrets, with passwords inside URLs masked.
    pub value: String,
    /// Whether it was set, or is the default.
    pub set: bool,
}

/// Reads settings, and remembers what was read and what was wrong.
#[derive(Debug)]
pub struct Env {
    vars: BTreeMap<String, String>,
    problems: Vec<ConfigProblem>,
    effective: Vec<Effective>,
}

impl Env {
    /// The process's environment, and below it what the file named by `SWITCHYARD_ENV_FILE` says. A file that cannot be
    /// read is a problem.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn process() -> Self {
        Self::from_map(std::env::vars().collect()).over_file()
    }

    fn over_file(mut self) -> Self {
        let Some(path) = self.vars.get(env_file::NAME).filter(|path| !path.is_empty()).cloned()
        else {
            return self;
        };
        self.note(env_file::NAME, path.clone(), true);
        match env_file::read(Path::new(&path)) {
            Ok(below) => {
                for (name, value) in below {
                    // Set to nothing is not set, here as everywhere.
                    let set = self.vars.entry(name).or_default();
                    if set.is_empty() {
                        *set = value;
                    }
                }
            }
            Err(problem) => self.refuse(env_file::NAME, problem),
        }
        self
    }

    /// Settings from elsewhere: a test, or `switchyard up`, which makes one set per service.
    pub fn from_map(vars: BTreeMap<String, String>) -> Self {
        Self { vars, problems: Vec::new(), effective: Vec::new() }
    }

    /// All settings, to be changed and read again.
    pub fn into_map(self) -> BTreeMap<String, String> {
        self.vars
    }

    /// A setting with a default.
    pub fn parse<T>(&mut self, name: &str, default: &str) -> T
    where
        T: FromStr + Fallback,
        T::Err: Display,
    {
        let set = self.vars.get(name).filter(|text| !text.is_empty()).cloned();
        let text = set.clone().unwrap_or_else(|| default.to_owned());
        self.note(name, mask_url(&text), set.is_some());
        self.read(name, &text)
    }

    /// A setting that may be absent.
    pub fn optional<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr + Fallback,
        T::Err: Display,
    {
        let text = self.vars.get(name).filter(|text| !text.is_empty()).cloned();
        self.note(name, text.as_deref().map(mask_url).unwrap_or_default(), text.is_some());
        text.map(|text| self.read(name, &text))
    }

    /// A text with a default.
    pub fn text(&mut self, name: &str, default: &str) -> String {
        self.parse::<String>(name, default)
    }

    /// A secret that must be set.
    pub fn secret(&mut self, name: &str) -> SecretString {
        let secret = self.optional_secret(name);
        if secret.is_none() {
            self.refuse(name, "must be set");
        }
        secret.unwrap_or_default()
    }

    /// A secret that may be absent.
    pub fn optional_secret(&mut self, name: &str) -> Option<SecretString> {
        let text = self.vars.get(name).filter(|text| !text.is_empty()).cloned();
        let shown = if text.is_some() { "********" } else { "" };
        self.note(name, shown.into(), text.is_some());
        text.map(SecretString::from)
    }

    /// Records a problem that a caller found, such as two settings that do not fit together.
    pub fn refuse(&mut self, name: &str, problem: impl Display) {
        self.problems.push(ConfigProblem { name: name.into(), problem: problem.to_string() });
    }

    /// All problems at once, or nothing wrong.
    pub fn finish(&mut self) -> Result<(), Vec<ConfigProblem>> {
        if self.problems.is_empty() { Ok(()) } else { Err(std::mem::take(&mut self.problems)) }
    }

    /// What took effect so far, masked, each name once.
    pub fn effective(&self) -> Vec<Effective> {
        let by_name: BTreeMap<_, _> = self.effective.iter().map(|e| (&e.name, e)).collect();
        by_name.into_values().cloned().collect()
    }

    fn note(&mut self, name: &str, value: String, set: bool) {
        self.effective.push(Effective { name: name.into(), value, set });
    }

    fn read<T>(&mut self, name: &str, text: &str) -> T
    where
        T: FromStr + Fallback,
        T::Err: Display,
    {
        match text.parse() {
            Ok(value) => value,
            Err(error) => {
                self.refuse(name, format!("`{}` cannot be read: {error}", mask_url(text)));
                T::fallback()
            }
        }
    }
}

/// A value to go on with while the remaining settings are checked; never used to run.
pub trait Fallback {
    /// Any value.
    fn fallback() -> Self;
}

macro_rules! fallback {
    ($($type:ty => $value:expr;)+) => {
        $(impl Fallback for $type { fn fallback() -> Self { $value } })+
    };
}

fallback! {
    String => String::new();
    bool => false;
    u16 => 0;
    u32 => 0;
    u64 => 0;
    i64 => 0;
    usize => 0;
    f64 => 0.0;
    IpAddr => IpAddr::from([127, 0, 0, 1]);
    SocketAddr => SocketAddr::from(([127, 0, 0, 1], 0));
    std::path::PathBuf => Self::new();
}

impl Fallback for Url {
    #[allow(clippy::expect_used, reason = "a constant that parses")]
    fn fallback() -> Self {
        Self::parse("http://unset.invalid").expect("a constant URL")
    }
}

/// How a service takes part in the trust between services.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The gateway's internal key set.
    pub jwks_url: Url,
    /// This service's Ed25519 seed: 32 bytes in base64.
    pub service_key: SecretString,
}

/// What every service is told.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Which service this is.
    pub service: Service,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its database.
    pub db: DbConfig,
    /// Its message bus.
    pub nats: NatsConfig,
    /// How its events are published, and how long they are kept.
    pub relay: RelayConfig,
    /// Its keys.
    pub auth: AuthConfig,
}

impl ServiceConfig {
    /// Reads the settings all services share.
    pub fn read(env: &mut Env, service: Service) -> Self {
        let listen = format!("127.0.0.1:{}", service.default_port());
        Self {
            service,
            listen: env.parse("SWITCHYARD_LISTEN", &listen),
            db: DbConfig {
                app_url: env.secret("SWITCHYARD_DATABASE_URL"),
                system_url: env.secret("SWITCHYARD_DATABASE_SYSTEM_URL"),
                max_connections: env.parse("SWITCHYARD_DATABASE_CONNECTIONS", "16"),
                patience: DbConfig::PATIENCE,
            },
            nats: NatsConfig {
                url: env.text("SWITCHYARD_NATS_URL", "nats://127.0.0.1:4222"),
                user: env.text("SWITCHYARD_NATS_USER", service.name()),
                password: env.secret("SWITCHYARD_NATS_PASSWORD"),
            },
            relay: relay(env),
            auth: AuthConfig {
                jwks_url: env.parse("SWITCHYARD_JWKS_URL", "http://127.0.0.1:8090/internal/jwks"),
                service_key: env.secret("SWITCHYARD_SERVICE_KEY"),
            },
        }
    }
}

fn relay(env: &mut Env) -> RelayConfig {
    let default = RelayConfig::default();
    let mut at_least = |name: &str, least: u64, default: u64| -> u64 {
        let found = env.parse(name, &default.to_string());
        if found < least {
            env.refuse(name, format!("must be at least {least}"));
        }
        found
    };
    RelayConfig {
        poll: Duration::from_millis(at_least("SWITCHYARD_OUTBOX_POLL_MS", 10, 1_000)),
        check: Duration::from_millis(at_least("SWITCHYARD_OUTBOX_CHECK_MS", 100, 10_000)),
        tidy: Duration::from_secs(at_least("SWITCHYARD_TIDY_SECONDS", 1, 60)),
        keep: Duration::from_secs(at_least("SWITCHYARD_OUTBOX_KEEP_HOURS", 1, 24) * 60 * 60),
        // Streams keep messages for a week; one that comes twice must be known for longer than that.
        inbox_days: at_least("SWITCHYARD_INBOX_DAYS", 8, default.inbox_days.into()) as u32,
        parked_days: at_least("SWITCHYARD_PARKED_DAYS", 1, default.parked_days.into()) as u32,
        ..default
    }
}

/// Hides the password of a URL.
fn mask_url(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            // A URL with a host takes a password; one without never had one.
            let _ = url.set_password(Some("********"));
            url.to_string()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Env {
        Env::from_map(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let mut env = env(&[("SWITCHYARD_LISTEN", "nowhere"), ("SWITCHYARD_NATS_PASSWORD", "x")]);

        ServiceConfig::read(&mut env, Service::Engine);

        let names: Vec<String> = env.finish().unwrap_err().into_iter().map(|p| p.name).collect();
        assert_eq!(
            names,
            [
                "SWITCHYARD_LISTEN",
                "SWITCHYARD_DATABASE_URL",
                "SWITCHYARD_DATABASE_SYSTEM_URL",
                "SWITCHYARD_SERVICE_KEY"
            ]
        );
    }

    #[test]
    fn a_file_gives_what_the_environment_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::write(&path, "A=file\nB=file\nC=file\n").unwrap();
        let path = path.to_str().unwrap();

        let mut env =
            env(&[("SWITCHYARD_ENV_FILE", path), ("A", "process"), ("B", "")]).over_file();

        assert_eq!(env.text("A", ""), "process");
        assert_eq!(env.text("B", ""), "file");
        assert_eq!(env.text("C", ""), "file");
        assert_eq!(env.finish(), Ok(()));
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem_with_its_name() {
        let mut env = env(&[("SWITCHYARD_ENV_FILE", "/nowhere/env")]).over_file();

        let problems = env.finish().unwrap_err();

        assert_eq!(problems[0].name, "SWITCHYARD_ENV_FILE");
        assert!(problems[0].problem.starts_with("/nowhere/env: "), "{}", problems[0]);
    }

    #[test]
    fn what_is_shown_hides_secrets_and_passwords() {
        let mut env = env(&[("KEY", "s3cret"), ("DB", "postgres://me:s3cret@db/x")]);

        env.secret("KEY");
        env.text("DB", "");

        let shown = serde_json::to_string(&env.effective()).unwrap();
        assert!(shown.contains("postgres://me:********@db/x"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
