//! How a transit engine lets us in: by a token that we are given, one in a file that somebody else keeps new, or one that we
//! get by logging in, and get again before it ends or when it was taken away.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{
    VaultError,
    pause::Pause,
    remote::{down, patiently, sent, taken},
    token::Token,
};

pub(super) const WHO: &str = "the transit engine";
/// A token that was just got and is refused lacks a right: that is not helped by getting ever more of them.
const BETWEEN_REFUSALS: Duration = Duration::from_secs(60);
/// Nobody's token or secret is longer.
const LONGEST: u64 = 64 * 1024;

/// How a transit engine lets us in.
#[derive(Clone, Debug)]
pub enum TransitEntry {
    /// `SWITCHYARD_VAULT_TOKEN`.
    Token(SecretString),
    /// `SWITCHYARD_VAULT_TOKEN_FILE`: somebody else, such as an agent of Vault's, writes a new one into it in time.
    TokenFile(PathBuf),
    /// `SWITCHYARD_VAULT_AUTH`.
    Login {
        /// `SWITCHYARD_VAULT_AUTH_MOUNT`.
        mount: String,
        /// By what.
        by: TransitLogin,
    },
}

/// What is shown to log in.
#[derive(Clone, Debug)]
pub enum TransitLogin {
    /// `SWITCHYARD_VAULT_ROLE_ID`, and `SWITCHYARD_VAULT_SECRET_ID` or the file `SWITCHYARD_VAULT_SECRET_ID_FILE`.
    AppRole {
        /// The role.
        role_id: String,
        /// Its secret.
        secret_id: SecretSource,
    },
    /// `SWITCHYARD_VAULT_ROLE`, and the file `SWITCHYARD_VAULT_JWT_FILE` with the token of the service account.
    Kubernetes {
        /// The role.
        role: String,
        /// Read at each login.
        jwt_file: PathBuf,
    },
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// Given.
    Given(SecretString),
    /// In a file, which is read each time it is needed.
    File(PathBuf),
}

/// Where the engine is.
pub(super) struct Door {
    pub(super) address: Url,
    pub(super) namespace: Option<String>,
    pub(super) http: reqwest::Client,
}

/// A token as it was got.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    token: SecretString,
    /// The how manyth.
    nth: u64,
}

/// Holds the token that is good now.
pub(super) struct Entry {
    how: TransitEntry,
    held: Mutex<Held>,
    /// Of many who need another token one gets it.
    turn: tokio::sync::Mutex<()>,
    /// Between logins that go wrong.
    pause: Pause,
    pub(super) life: Token,
}

/// Why there is to be another token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The one that there is, if any, will not do for long.
    Wanted,
    /// It was refused.
    Refused,
}

#[derive(Default)]
struct Held {
    pass: Option<Pass>,
    /// When a token was last got because the one before was refused.
    refused_at: Option<Instant>,
    /// Why there was none the last time that one was wanted.
    trouble: Option<String>,
    /// The one that there is was refused, and no other was had: nobody is let in.
    shut: bool,
}

impl Door {
    /// A request that shows no token yet.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.address.as_str().trim_end_matches('/');
        let request = self.http.request(method, format!("{base}/v1/{path}"));
        match &self.namespace {
            Some(namespace) => request.header("X-Vault-Namespace", namespace),
            None => request,
        }
    }

    /// The same with a token.
    pub(super) fn with(&self, pass: &Pass, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).header("X-Vault-Token", pass.token.expose_secret())
    }
}

impl Pass {
    /// What the engine said to who showed it.
    pub(super) fn said(&self, answer: &Value) -> String {
        said(answer, &[self.token.expose_secret()])
    }
}

impl Entry {
    pub(super) fn new(how: TransitEntry) -> Self {
        Self {
            how,
            held: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            pause: Pause::default(),
            life: Token::default(),
        }
    }

    /// The token to show; got now if there is none yet.
    pub(super) async fn pass(&self, door: &Door) -> Result<Pass, VaultError> {
        if let Some(pass) = self.held(|held| held.pass.clone()) {
            return Ok(pass);
        }
        let first = self.another(door, None, Why::Wanted).await?;
        first.ok_or_else(|| down(WHO, "there is no token"))
    }

    /// A token in place of one that was refused; none when there is no other.
    pub(super) async fn instead_of(
        &self,
        door: &Door,
        refused: &Pass,
    ) -> Result<Option<Pass>, VaultError> {
        self.another(door, Some(refused), Why::Refused).await
    }

    /// Takes what somebody has written into the file since, or logs in anew before the token ends.
    pub(super) async fn keep_up(&self, door: &Door) -> Result<(), VaultError> {
        let pass = self.pass(door).await?;
        let wanted = match &self.how {
            TransitEntry::Token(_) => false,
            TransitEntry::TokenFile(_) => true,
            TransitEntry::Login { .. } => self.life.is_ending() || self.held(|held| held.shut),
        };
        if wanted {
            self.another(door, Some(&pass), Why::Wanted).await?;
        }
        Ok(())
    }

    /// Why the token lets nobody in any more, as far as that is known.
    pub(super) fn check(&self) -> Result<(), String> {
        let (trouble, shut) = self.held(|held| (held.trouble.clone(), held.shut));
        match (self.life.check(), trouble) {
            (Ok(()), Some(trouble)) if shut => Err(trouble),
            (Ok(()), _) => Ok(()),
            (Err(why), trouble) => Err(trouble.unwrap_or_else(|| why.to_owned())),
        }
    }

    /// Gets a token other than `than`, unless somebody else has meanwhile; none when there is no other.
    async fn another(
        &self,
        door: &Door,
        than: Option<&Pass>,
        why: Why,
    ) -> Result<Option<Pass>, VaultError> {
        let _turn = self.turn.lock().await;
        let held = self.held(|held| held.pass.clone());
        if let Some(held) = &held
            && than.is_none_or(|than| than.nth != held.nth)
        {
            return Ok(Some(held.clone()));
        }
        if why == Why::Refused && self.was_refused_lately() {
            return Ok(None);
        }
        let (token, seconds) = match self.get(door).await {
            Ok(got) => got,
            Err(error) => {
                let before = self.held(|held| {
                    held.shut |= why == Why::Refused;
                    held.trouble.replace(error.to_string())
                });
                if before.is_none() {
                    tracing::warn!(%error, "there is no new token for the transit engine");
                }
                return Err(error);
            }
        };
        let same = |pass: &Pass| pass.token.expose_secret() == token.expose_secret();
        if held.as_ref().is_some_and(same) {
            self.held(|held| (held.trouble, held.shut) = (None, false));
            return Ok(None);
        }
        let pass = Pass { token, nth: held.map_or(1, |held| held.nth + 1) };
        self.held(|held| {
            (held.pass, held.trouble, held.shut) = (Some(pass.clone()), None, false);
            if why == Why::Refused {
                held.refused_at = Some(Instant::now());
            }
        });
        self.life.begin(seconds);
        Ok(Some(pass))
    }

    fn was_refused_lately(&self) -> bool {
        let got_at = self.held(|held| held.refused_at);
        let logs_in = matches!(self.how, TransitEntry::Login { .. });
        logs_in && got_at.is_some_and(|at| at.elapsed() < BETWEEN_REFUSALS)
    }

    /// A token, and for how many seconds it is good, if that is said.
    async fn get(&self, door: &Door) -> Result<(SecretString, Option<u64>), VaultError> {
        match &self.how {
            TransitEntry::Token(token) => Ok((token.clone(), None)),
            TransitEntry::TokenFile(path) => Ok((read("SWITCHYARD_VAULT_TOKEN_FILE", path)?, None)),
            TransitEntry::Login { mount, by } => {
                let shown = by.shown()?;
                self.pause.check()?;
                let got = log_in(door, mount, &shown).await;
                self.pause.note(got.as_ref().err());
                got
            }
        }
    }

    fn held<T>(&self, what: impl FnOnce(&mut Held) -> T) -> T {
        what(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A token for what is shown, and for how many seconds it is good, if that is said.
async fn log_in(
    door: &Door,
    mount: &str,
    shown: &Value,
) -> Result<(SecretString, Option<u64>), VaultError> {
    let path = format!("auth/{mount}/login");
    let busy = |status, _: &Value| status == 429;
    let asked = || sent(WHO, door.request(Method::POST, &path).json(shown));
    let (status, mut answer) = patiently(busy, asked).await?;
    let token = match taken(&mut answer, "/auth/client_token") {
        Value::String(token) if status == 200 && !token.is_empty() => token,
        _ => {
            let secrets = ["secret_id", "jwt"].map(|name| shown[name].as_str().unwrap_or_default());
            let said = said(&answer, &secrets);
            let why = format!("logging in at auth/{mount}: HTTP {status} {said}");
            return Err(down(WHO, why.trim_end()));
        }
    };
    let seconds = answer["auth"]["lease_duration"].as_u64().filter(|seconds| *seconds > 0);
    tracing::info!(seconds, "logged in to the transit engine");
    Ok((token.into(), seconds))
}

impl TransitLogin {
    fn shown(&self) -> Result<Value, VaultError> {
        Ok(match self {
            Self::AppRole { role_id, secret_id } => {
                let secret_id = match secret_id {
                    SecretSource::Given(secret) => secret.clone(),
                    SecretSource::File(path) => read("SWITCHYARD_VAULT_SECRET_ID_FILE", path)?,
                };
                json!({ "role_id": role_id, "secret_id": secret_id.expose_secret() })
            }
            Self::Kubernetes { role, jwt_file } => {
                let jwt = read("SWITCHYARD_VAULT_JWT_FILE", jwt_file)?;
                json!({ "role": role, "jwt": jwt.expose_secret() })
            }
        })
    }
}

/// What is wrong, in the engine's own words, should they quote what it was shown, without that.
fn said(answer: &Value, secrets: &[&str]) -> String {
    let errors = answer["errors"].as_array();
    let said = errors.into_iter().flatten().filter_map(Value::as_str);
    let said = said.collect::<Vec<_>>().join("; ");
    let shown = secrets.iter().filter(|secret| !secret.is_empty());
    shown.fold(said, |said, secret| said.replace(secret, "[redacted]"))
}

/// The text in the file that a setting names, without the line's end that editors add. Where that is is not said: tenants
/// are told of what comes of it.
fn read(setting: &str, path: &Path) -> Result<SecretString, VaultError> {
    let fail = |why: String| down(WHO, format!("{setting}: {why}"));
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    let text = SecretString::from(text);
    read.map_err(|error| fail(error.to_string()))?;
    let trimmed = text.expose_secret().trim();
    if trimmed.is_empty() || trimmed.contains(char::is_whitespace) {
        return Err(fail("the file is empty, or holds more than that".into()));
    }
    Ok(trimmed.into())
}
