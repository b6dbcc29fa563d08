//! Puts a secret onto a request at the very last moment.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{EgressError, redact::Redactor};

/// Where on the request the secret goes.
#[derive(Clone)]
pub enum Injection {
    /// A header of its own, such as `X-Api-Key`; `prefix` stands before the secret.
    Header {
        /// The header.
        name: HeaderName,
        /// What stands before the secret, such as `Token `.
        prefix: String,
        /// The secret.
        secret: SecretString,
    },
    /// A query parameter; it replaces one of the same name.
    Query {
        /// The parameter.
        name: String,
        /// The secret.
        secret: SecretString,
    },
    /// `Authorization: Bearer …`.
    Bearer(SecretString),
    /// `Authorization: Basic …`.
    Basic {
        /// Shown in no answer either, as it may be the secret half.
        username: String,
        /// The secret.
        password: SecretString,
    },
}

impl std::fmt::Debug for Injection {
    /// By hand, as a user name may be the secret half.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header { .. } => "Header(…)",
            Self::Query { .. } => "Query(…)",
            Self::Bearer(_) => "Bearer(…)",
            Self::Basic { .. } => "Basic(…)",
        })
    }
}

/// The secret cannot be sent, as it has characters that no header takes. Says nothing else about it.
#[derive(Debug, thiserror::Error)]
#[error("the credential has characters that cannot be sent in a header")]
pub(super) struct NotSendable;

impl Injection {
    /// Cuts this secret out of whatever comes back.
    pub fn redactor(&self) -> Redactor {
        match self {
            Self::Header { secret, .. } | Self::Query { secret, .. } | Self::Bearer(secret) => {
                Redactor::new(&[secret])
            }
            Self::Basic { username, password } => {
                let pair = SecretString::from(format!("{username}:{}", password.expose_secret()));
                let user = SecretString::from(username.as_str());
                // Some services take the key as the user name and no password at all.
                if password.expose_secret().is_empty() {
                    Redactor::new(&[&pair, &user])
                } else {
                    Redactor::new(&[&pair, password])
                }
            }
        }
    }

    /// The same for requests that [`Egress::send`](super::Egress::send) does not make, such as streams: whoever makes
    /// them has checked where they go, and redacts what comes back.
    pub fn put_on(&self, url: &mut Url, headers: &mut HeaderMap) -> Result<(), EgressError> {
        self.apply(url, headers).map_err(|error| EgressError::Denied(error.to_string()))
    }

    pub(super) fn apply(&self, url: &mut Url, headers: &mut HeaderMap) -> Result<(), NotSendable> {
        match self {
            Self::Header { name, prefix, secret } => {
                headers.insert(name, hidden(&format!("{prefix}{}", secret.expose_secret()))?);
            }
            Self::Bearer(secret) => {
                headers
                    .insert(AUTHORIZATION, hidden(&format!("Bearer {}", secret.expose_secret()))?);
            }
            Self::Basic { username, password } => {
                let pair = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
                headers.insert(AUTHORIZATION, hidden(&format!("Basic {pair}"))?);
            }
            Self::Query { name, secret } => set_query(url, name, secret.expose_secret()),
        }
        Ok(())
    }
}

fn hidden(text: &str) -> Result<HeaderValue, NotSendable> {
    let mut value = HeaderValue::from_str(text).map_err(|_| NotSendable)?;
    value.set_sensitive(true);
    Ok(value)
}

fn set_query(url: &mut Url, name: &str, value: &str) {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != name)
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_half_of_the_secret() {
        let key = Injection::Basic { username: "sk_live_key".into(), password: "".into() };

        assert_eq!(format!("{key:?}"), "Basic(…)");
    }
}
