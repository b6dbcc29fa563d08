//! What the service is told.

mod roots;

use std::time::Duration;

use servicekit::{Env, ServiceConfig, egress::EgressPolicy};
use shared_models::Service;
use url::Url;

pub use roots::{RootKeySource, RootKeySpec};

/// Everything the service is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service is told.
    pub service: ServiceConfig,
    /// `SWITCHYARD_ROOT_KEYS`, or else `SWITCHYARD_ROOT_KEY` (base64), or else `SWITCHYARD_ROOT_KEY_FILE` (default
    /// `.switchyard/credsvc/root.key`). The first wraps, all unwrap.
    pub root_keys: Vec<RootKeySpec>,
    /// `SWITCHYARD_KEY_CACHE_SECONDS`: how long an unwrapped tenant key stays in memory (300).
    pub key_cache: Duration,
    /// `SWITCHYARD_SECRET_TTL_SECONDS`: how long a service may keep a resolved secret (60).
    pub lease_seconds: u32,
    /// `SWITCHYARD_AUDIT_QUEUE`: how many resolves, reads and refusals may wait for their audit entry (1024).
    pub audit_queue: usize,
    /// `SWITCHYARD_SHRED_DAYS`: days that a deleted credential stays sealed before nothing is left of it (31).
    pub shred_days: u32,
    /// `SWITCHYARD_PUBLIC_URL`: where people reach the platform; links and OAuth redirects begin with it
    /// (`http://127.0.0.1:8080`).
    pub public_url: Url,
    /// `SWITCHYARD_EGRESS_ALLOW`: what tests, the proxy and OAuth may reach besides public addresses.
    pub egress: EgressPolicy,
    /// `SWITCHYARD_OAUTH_TIMEOUT_SECONDS`: for one answer of an OAuth provider (10).
    pub oauth_timeout: Duration,
}

impl Config {
    /// Reads the settings; problems are left in `env`.
    pub fn read(env: &mut Env) -> Self {
        let service = ServiceConfig::read(env, Service::Credsvc);
        let root_keys = roots::read(env);
        Self {
            service,
            root_keys,
            key_cache: Duration::from_secs(env.parse("SWITCHYARD_KEY_CACHE_SECONDS", "300")),
            lease_seconds: env.parse("SWITCHYARD_SECRET_TTL_SECONDS", "60"),
            audit_queue: env.parse("SWITCHYARD_AUDIT_QUEUE", "1024"),
            shred_days: env.parse("SWITCHYARD_SHRED_DAYS", "31"),
            public_url: env.parse("SWITCHYARD_PUBLIC_URL", "http://127.0.0.1:8080"),
            egress: egress(env),
            oauth_timeout: Duration::from_secs(env.parse("SWITCHYARD_OAUTH_TIMEOUT_SECONDS", "10")),
        }
    }
}

fn egress(env: &mut Env) -> EgressPolicy {
    let name = "SWITCHYARD_EGRESS_ALLOW";
    let rules = env.text(name, "");
    EgressPolicy::parse(&rules).unwrap_or_else(|error| {
        env.refuse(name, error);
        EgressPolicy::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::TransitEntry;

    fn read(vars: &[(&str, &str)]) -> (Config, Vec<String>) {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut env = Env::from_map(vars);
        let config = Config::read(&mut env);
        let problems = env.finish().unwrap_err().into_iter().map(|problem| problem.name);
        (config, problems.collect())
    }

    #[test]
    fn root_keys_are_listed_newest_first() {
        let (config, _) = read(&[
            ("SWITCHYARD_ROOT_KEYS", "3=vault:switchyard, 2=env:OLD_KEY,1=file:/keys/root"),
            ("SWITCHYARD_VAULT_ADDR", "https://vault.example:8200"),
            ("SWITCHYARD_VAULT_TOKEN", "s.x"),
            ("OLD_KEY", "a2V5"),
        ]);

        let versions: Vec<i32> = config.root_keys.iter().map(|root| root.version).collect();
        assert_eq!(versions, [3, 2, 1]);
        assert!(matches!(config.root_keys[0].source, RootKeySource::Vault { .. }));
        assert!(matches!(config.root_keys[2].source, RootKeySource::File(_)));
    }

    #[test]
    fn a_list_of_root_keys_that_makes_no_sense_is_refused() {
        for list in ["file:/a", "x=file:/a", "1=file:/a,1=file:/b", "1=magic:/a", "0=file:/a", "1="]
        {
            let (_, problems) = read(&[("SWITCHYARD_ROOT_KEYS", list)]);
            assert!(problems.iter().any(|name| name == "SWITCHYARD_ROOT_KEYS"), "{list}");
        }
        let (_, problems) = read(&[("SWITCHYARD_ROOT_KEYS", "1=vault:k")]);
        assert!(problems.iter().any(|name| name == "SWITCHYARD_VAULT_ADDR"), "{problems:?}");
    }

    #[test]
    fn vault_lets_us_in_in_exactly_one_way() {
        let with = |more: &[(&str, &str)]| {
            let usual = [
                ("SWITCHYARD_ROOT_KEYS", "1=vault:switchyard"),
                ("SWITCHYARD_VAULT_ADDR", "https://vault.example:8200"),
            ];
            let (config, problems) = read(&[&usual, more].concat());
            let problems: Vec<String> =
                problems.into_iter().filter(|name| name.contains("VAULT")).collect();
            (config.root_keys[0].source.clone(), problems)
        };
        let entry = |more: &[(&str, &str)]| match with(more) {
            (RootKeySource::Vault { config, .. }, problems) if problems.is_empty() => config.entry,
            other => panic!("{other:?}"),
        };
        let (token, file) = ("SWITCHYARD_VAULT_TOKEN", "SWITCHYARD_VAULT_TOKEN_FILE");
        let (method, role_id) = ("SWITCHYARD_VAULT_AUTH", "SWITCHYARD_VAULT_ROLE_ID");

        assert!(matches!(entry(&[(token, "s.x")]), TransitEntry::Token(_)));
        assert!(matches!(entry(&[(file, "/run/token")]), TransitEntry::TokenFile(_)));
        let kubernetes = entry(&[(method, "kubernetes"), ("SWITCHYARD_VAULT_ROLE", "sy")]);
        let shown = format!("{kubernetes:?}");
        assert!(shown.contains("/var/run/secrets/kubernetes.io/serviceaccount/token"), "{shown}");
        assert!(shown.contains(r#"mount: "kubernetes""#), "{shown}");
        for (more, refused) in [
            (vec![], token),
            (vec![(token, "s.x"), (file, "/run/token")], token),
            (vec![(method, "github")], method),
            (vec![(method, "kubernetes")], "SWITCHYARD_VAULT_ROLE"),
            (vec![(method, "approle"), ("SWITCHYARD_VAULT_SECRET_ID", "s")], role_id),
            (vec![(method, "approle"), (role_id, "r")], "SWITCHYARD_VAULT_SECRET_ID"),
        ] {
            assert_eq!(with(&more).1, [refused], "{more:?}");
        }
    }

    #[test]
    fn two_root_keys_are_one_too_many() {
        let vars = [("SWITCHYARD_ROOT_KEY", "a"), ("SWITCHYARD_ROOT_KEY_FILE", "b")];
        let mut env = Env::from_map(vars.map(|(k, v)| (k.to_owned(), v.to_owned())).into());

        Config::read(&mut env);

        let problems = env.finish().unwrap_err();
        assert!(problems.iter().any(|problem| problem.name == "SWITCHYARD_ROOT_KEY_FILE"));
    }
}
