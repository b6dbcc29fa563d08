//! Where the root keys are.

use std::path::PathBuf;

use secrecy::SecretString;
use servicekit::Env;

use crate::{
    sigv4,
    vault::{KmsConfig, SecretSource, TransitConfig, TransitEntry, TransitLogin},
};

const LIST: &str = "SWITCHYARD_ROOT_KEYS";
/// Where Kubernetes puts the token of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// A root key and its version.
#[derive(Clone, Debug)]
pub struct RootKeySpec {
    /// Rises with each new root key.
    pub version: i32,
    /// Where it is.
    pub source: RootKeySource,
}

/// Where a root key is.
#[derive(Clone, Debug)]
pub enum RootKeySource {
    /// A file of 32 bytes and mode 0600, made on first start.
    File(PathBuf),
    /// 32 bytes in base64, given in the environment.
    Given(SecretString),
    /// In the transit engine of Vault or OpenBao.
    Vault {
        /// The engine.
        config: TransitConfig,
        /// The key's name.
        key: String,
    },
    /// In AWS' key service.
    AwsKms {
        /// The service.
        config: KmsConfig,
        /// The key's id, alias or ARN.
        key: String,
    },
}

/// Reads them, newest first.
pub(super) fn read(env: &mut Env) -> Vec<RootKeySpec> {
    let list: Option<String> = env.optional(LIST);
    let given = env.optional_secret("SWITCHYARD_ROOT_KEY");
    let file: Option<PathBuf> = env.optional("SWITCHYARD_ROOT_KEY_FILE");
    if given.is_some() && file.is_some() {
        env.refuse("SWITCHYARD_ROOT_KEY_FILE", "set either this or SWITCHYARD_ROOT_KEY, not both");
    }
    if let Some(list) = list {
        return parse(env, &list);
    }
    let usual = || file.unwrap_or_else(|| ".switchyard/credsvc/root.key".into());
    let source = given.map_or_else(|| RootKeySource::File(usual()), RootKeySource::Given);
    vec![RootKeySpec { version: 1, source }]
}

/// `2=vault:switchyard,1=file:/keys/root.key`.
fn parse(env: &mut Env, list: &str) -> Vec<RootKeySpec> {
    let mut found: Vec<RootKeySpec> = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let parts = entry.split_once('=').and_then(|(version, source)| {
            let version: i32 = version.trim().parse().ok().filter(|version| *version > 0)?;
            let (kind, place) =
                source.trim().split_once(':').filter(|(_, place)| !place.is_empty())?;
            Some((version, kind, place))
        });
        let source =
            parts.and_then(|(version, kind, place)| Some((version, source(env, kind, place)?)));
        match source {
            Some((version, _)) if found.iter().any(|root| root.version == version) => {
                env.refuse(LIST, format!("version {version} is there twice"));
            }
            Some((version, source)) => found.push(RootKeySpec { version, source }),
            None => env.refuse(
                LIST,
                format!("`{entry}` is not <version>=file:<path>, env:<NAME>, vault:<key> or aws-kms:<key>"),
            ),
        }
    }
    if found.is_empty() {
        env.refuse(LIST, "names no root key");
    }
    found
}

fn source(env: &mut Env, kind: &str, place: &str) -> Option<RootKeySource> {
    Some(match kind {
        "file" => RootKeySource::File(place.into()),
        "env" => RootKeySource::Given(env.secret(place)),
        "vault" => RootKeySource::Vault { config: transit(env), key: place.to_owned() },
        "aws-kms" => RootKeySource::AwsKms { config: kms(env), key: place.to_owned() },
        _ => return None,
    })
}

fn transit(env: &mut Env) -> TransitConfig {
    const ADDRESS: &str = "SWITCHYARD_VAULT_ADDR";
    let address = env.optional(ADDRESS);
    if address.is_none() {
        env.refuse(ADDRESS, "must be set for a root key in Vault");
    }
    TransitConfig {
        address: address.unwrap_or_else(servicekit::config::Fallback::fallback),
        entry: entry(env),
        mount: env.text("SWITCHYARD_VAULT_MOUNT", "transit"),
        namespace: env.optional("SWITCHYARD_VAULT_NAMESPACE"),
    }
}

/// By exactly one of a token, a file with one, and a login.
fn entry(env: &mut Env) -> TransitEntry {
    const TOKEN: &str = "SWITCHYARD_VAULT_TOKEN";
    let token = env.optional_secret(TOKEN);
    let file: Option<PathBuf> = env.optional("SWITCHYARD_VAULT_TOKEN_FILE");
    let method: Option<String> = env.optional("SWITCHYARD_VAULT_AUTH");
    match (token, file, method) {
        (Some(token), None, None) => TransitEntry::Token(token),
        (None, Some(file), None) => TransitEntry::TokenFile(file),
        (None, None, Some(method)) => login(env, &method),
        (token, ..) => {
            let why = "for a root key in Vault set exactly one of this, SWITCHYARD_VAULT_TOKEN_FILE and \
                       SWITCHYARD_VAULT_AUTH";
            env.refuse(TOKEN, why);
            TransitEntry::Token(token.unwrap_or_default())
        }
    }
}

fn login(env: &mut Env, method: &str) -> TransitEntry {
    let mount = env.text("SWITCHYARD_VAULT_AUTH_MOUNT", method);
    let by = match method {
        "approle" => TransitLogin::AppRole {
            role_id: needed(env, "SWITCHYARD_VAULT_ROLE_ID"),
            secret_id: secret_id(env),
        },
        "kubernetes" => TransitLogin::Kubernetes {
            role: needed(env, "SWITCHYARD_VAULT_ROLE"),
            jwt_file: env.parse("SWITCHYARD_VAULT_JWT_FILE", SERVICE_ACCOUNT),
        },
        other => {
            let why = format!("`{other}` is neither `approle` nor `kubernetes`");
            env.refuse("SWITCHYARD_VAULT_AUTH", why);
            return TransitEntry::Token(SecretString::default());
        }
    };
    TransitEntry::Login { mount, by }
}

fn secret_id(env: &mut Env) -> SecretSource {
    const GIVEN: &str = "SWITCHYARD_VAULT_SECRET_ID";
    let given = env.optional_secret(GIVEN);
    let file: Option<PathBuf> = env.optional("SWITCHYARD_VAULT_SECRET_ID_FILE");
    match (given, file) {
        (Some(given), None) => SecretSource::Given(given),
        (None, Some(file)) => SecretSource::File(file),
        (given, _) => {
            env.refuse(GIVEN, "set exactly one of this and SWITCHYARD_VAULT_SECRET_ID_FILE");
            SecretSource::Given(given.unwrap_or_default())
        }
    }
}

fn needed(env: &mut Env, name: &str) -> String {
    env.optional(name).unwrap_or_else(|| {
        env.refuse(name, "must be set to log in by this method");
        String::new()
    })
}

fn kms(env: &mut Env) -> KmsConfig {
    let region = env.text("AWS_REGION", "us-east-1");
    let endpoint = format!("https://kms.{region}.amazonaws.com/");
    KmsConfig {
        endpoint: env.parse("AWS_ENDPOINT_URL_KMS", &endpoint),
        keys: sigv4::Keys {
            access_key_id: env.optional("AWS_ACCESS_KEY_ID").unwrap_or_else(|| {
                env.refuse("AWS_ACCESS_KEY_ID", "must be set for a root key in AWS");
                String::new()
            }),
            secret_access_key: env.secret("AWS_SECRET_ACCESS_KEY"),
            session_token: env.optional_secret("AWS_SESSION_TOKEN"),
        },
        region,
    }
}
