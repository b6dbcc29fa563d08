//! The secrets of a deployment: passwords of the database and message bus, the services' signing keys, the root key.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, path::Path};

use anyhow::Context as _;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret as _, SecretString};
use servicekit::{Env, SigningKey};
use shared_models::Service;

use crate::config::Invalid;

/// What every stored credential is sealed under.
pub(crate) const ROOT_KEY: &str = "SWITCHYARD_ROOT_KEY";

/// All of them, by the name of their environment variable.
#[derive(Clone, Debug)]
pub(crate) struct Secrets(BTreeMap<String, SecretString>);

impl Secrets {
    /// New random ones.
    pub(crate) fn generate() -> Self {
        Self(
            names()
                .map(|name| {
                    let value = random(&name);
                    (name, value)
                })
                .collect(),
        )
    }

    /// Those of the environment; every missing one is named.
    pub(crate) fn from_env(env: &mut Env) -> Result<Self, Invalid> {
        let found = names()
            .map(|name| {
                let value = env.secret(&name);
                (name, value)
            })
            .collect();
        env.finish().map_err(Invalid)?;
        Ok(Self(found))
    }

    /// Those kept in a file that only its owner can read; made when there is none.
    pub(crate) fn keep_at(path: &Path) -> anyhow::Result<Self> {
        let mut kept: BTreeMap<String, SecretString> = match std::fs::read_to_string(path) {
            Ok(text) => text
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned().into()))
                .collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        // A newer version may need one more.
        for (name, value) in Self::generate().0 {
            kept.entry(name).or_insert(value);
        }
        let secrets = Self(kept);
        write_private(path, &secrets.lines())?;
        Ok(secrets)
    }

    fn get(&self, name: &str) -> &SecretString {
        // Every constructor fills in every name.
        &self.0[name]
    }

    /// The password of a service's database login: `owner`, `app` or `system`.
    pub(crate) fn database(&self, service: Service, login: &str) -> &str {
        self.get(&database_name(service, login)).expose_secret()
    }

    /// The passwords of the message bus, by user.
    pub(crate) fn nats(&self) -> BTreeMap<String, String> {
        let services = Service::ALL.iter().map(|service| service.name());
        services
            .chain(["admin"])
            .map(|user| (user.to_owned(), self.get(&nats_name(user)).expose_secret().to_owned()))
            .collect()
    }

    /// A service's signing seed, in base64.
    pub(crate) fn service_key(&self, service: Service) -> &SecretString {
        self.get(&key_name(service))
    }

    /// A service's public key, for the key set.
    pub(crate) fn public_key(&self, service: Service) -> anyhow::Result<servicekit::PublicKey> {
        let name = key_name(service);
        let key = SigningKey::parse(service, self.get(&name))
            .with_context(|| format!("{name} cannot be used"))?;
        Ok(key.public().clone())
    }

    /// The root key, in base64.
    pub(crate) fn root_key(&self) -> &str {
        self.get(ROOT_KEY).expose_secret()
    }

    /// One more password, of somebody that is no service; made when there is none.
    pub(crate) fn password(&mut self, name: &str) -> String {
        let made = self.0.entry(name.to_owned()).or_insert_with(|| random(name));
        made.expose_secret().to_owned()
    }

    /// Keeps something that is secret because of what is in it.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// As an environment file.
    pub(crate) fn lines(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}={}", value.expose_secret());
            text
        })
    }
}

/// Writes a file that only its owner can read, in one step.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let making = path.with_extension("new");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&making)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&making, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn names() -> impl Iterator<Item = String> {
    let of_service = |&service: &Service| {
        [
            database_name(service, "owner"),
            database_name(service, "app"),
            database_name(service, "system"),
            nats_name(service.name()),
            key_name(service),
        ]
    };
    Service::ALL.iter().flat_map(of_service).chain([nats_name("admin"), ROOT_KEY.into()])
}

fn database_name(service: Service, login: &str) -> String {
    format!("{service}_DB_{login}_PASSWORD").to_uppercase()
}

fn nats_name(user: &str) -> String {
    format!("{user}_NATS_PASSWORD").to_uppercase()
}

fn key_name(service: Service) -> String {
    format!("{service}_SERVICE_KEY").to_uppercase()
}

/// Keys are base64 of 32 bytes; passwords are URL-safe, since they go into URLs.
fn random(name: &str) -> SecretString {
    let bytes: [u8; 32] = rand::random();
    if name.ends_with("_KEY") {
        STANDARD.encode(bytes)
    } else {
        URL_SAFE_NO_PAD.encode(&bytes[..24])
    }
    .into()
}

/// `switchyard secrets`.
pub(crate) fn print_new() -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(Secrets::generate().lines().as_bytes())?)
}

/// `switchyard nats-config`.
pub(crate) fn print_nats_config() -> anyhow::Result<()> {
    let secrets = Secrets::from_env(&mut Env::process())?;
    let text = pubsub::topology::server_config(&secrets.nats());
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
