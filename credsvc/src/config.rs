//! What the service is told.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use servicekit::{Env, ServiceConfig};
use shared_models::Service;

/// Where the root key is.
#[derive(Clone, Debug)]
pub enum RootKeySource {
    /// A file of 32 bytes and mode 0600, made on first start.
    File(PathBuf),
    /// 32 bytes in base64, given in the environment.
    Given(SecretString),
}

/// Everything the service is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service is told.
    pub service: ServiceConfig,
    /// `SWITCHYARD_ROOT_KEY` (base64), or else `SWITCHYARD_ROOT_KEY_FILE` (default `.switchyard/credsvc/root.key`).
    pub root_key: RootKeySource,
    /// `SWITCHYARD_KEY_CACHE_SECONDS`: how long an unwrapped tenant key stays in memory (300).
    pub key_cache: Duration,
    /// `SWITCHYARD_SECRET_TTL_SECONDS`: how long a service may keep a resolved secret (60).
    pub lease_seconds: u32,
    /// `SWITCHYARD_AUDIT_QUEUE`: how many resolves, reads and refusals may wait for their audit entry (1024).
    pub audit_queue: usize,
    /// `SWITCHYARD_SHRED_DAYS`: days that a deleted credential stays sealed before nothing is left of it (31).
    pub shred_days: u32,
}

impl Config {
    /// Reads the settings; problems are left in `env`.
    pub fn read(env: &mut Env) -> Self {
        let service = ServiceConfig::read(env, Service::Credsvc);
        let given = env.optional_secret("SWITCHYARD_ROOT_KEY");
        let file: Option<PathBuf> = env.optional("SWITCHYARD_ROOT_KEY_FILE");
        if given.is_some() && file.is_some() {
            env.refuse(
                "SWITCHYARD_ROOT_KEY_FILE",
                "set either this or SWITCHYARD_ROOT_KEY, not both",
            );
        }
        let root_key = match given {
            Some(key) => RootKeySource::Given(key),
            None => {
                RootKeySource::File(file.unwrap_or_else(|| ".switchyard/credsvc/root.key".into()))
            }
        };
        Self {
            service,
            root_key,
            key_cache: Duration::from_secs(env.parse("SWITCHYARD_KEY_CACHE_SECONDS", "300")),
            lease_seconds: env.parse("SWITCHYARD_SECRET_TTL_SECONDS", "60"),
            audit_queue: env.parse("SWITCHYARD_AUDIT_QUEUE", "1024"),
            shred_days: env.parse("SWITCHYARD_SHRED_DAYS", "31"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_root_keys_are_one_too_many() {
        let vars = [("SWITCHYARD_ROOT_KEY", "a"), ("SWITCHYARD_ROOT_KEY_FILE", "b")];
        let mut env = Env::from_map(vars.map(|(k, v)| (k.to_owned(), v.to_owned())).into());

        Config::read(&mut env);

        let problems = env.finish().unwrap_err();
        assert!(problems.iter().any(|problem| problem.name == "SWITCHYARD_ROOT_KEY_FILE"));
    }
}
