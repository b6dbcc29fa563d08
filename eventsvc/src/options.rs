//! What a trigger may say about its source. A webhook: how a delivery proves where it comes from, how a repetition is
//! told, how large it may be. A timer's are in [`crate::timer`].

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use servicekit::FieldError;
use utoipa::ToSchema;

use crate::{timer::TimerOptions, trigger::System};

shared_models::text_enum! {
    /// How a delivery proves where it comes from.
    pub enum Scheme {
        /// Standard Webhooks 1.0.
        StandardWebhooks = "standard_webhooks",
        /// An HMAC of the body in a header.
        Hmac = "hmac",
        /// A shared token in a header.
        Bearer = "bearer",
        /// HTTP Basic.
        Basic = "basic",
        /// Not at all: anybody who knows the address may fire. Must be said explicitly.
        None = "none",
    }
}

shared_models::text_enum! {
    /// The hash function of an HMAC.
    pub enum Algorithm {
        /// SHA-256.
        Sha256 = "sha256",
        /// SHA-1: only where a provider offers nothing better.
        Sha1 = "sha1",
        /// SHA-512.
        Sha512 = "sha512",
    }
}

shared_models::text_enum! {
    /// How an HMAC is written in its header.
    pub enum Encoding {
        /// Hexadecimal, either case.
        Hex = "hex",
        /// Standard base64.
        Base64 = "base64",
    }
}

/// The largest body any hook takes.
pub(crate) const BODY_CAP: u32 = 10 * 1024 * 1024;
/// The largest body a hook takes unless its options say more.
pub(crate) const BODY_DEFAULT: u32 = 1024 * 1024;
const TOLERANCE_CAP: u32 = 24 * 60 * 60;
const WINDOW_CAP: u32 = 7 * 24 * 60 * 60;

/// The options of a trigger, as its system has them.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TriggerOptions {
    /// Of a `webhook`.
    Webhook(WebhookOptions),
    /// Of a `timer`.
    Timer(TimerOptions),
}

impl TriggerOptions {
    /// Reads options; every refused field is named by its pointer within a trigger.
    pub(crate) fn parse(system: System, value: &Value) -> Result<Self, Vec<FieldError>> {
        match system {
            System::Webhook => WebhookOptions::parse(value).map(Self::Webhook),
            System::Timer => TimerOptions::parse(value).map(Self::Timer),
        }
    }
}

/// Reads the form of options; the field that does not fit is named.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Vec<FieldError>> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string().replace('.', "/");
        let pointer = if path == "/" { "/options".into() } else { format!("/options/{path}") };
        vec![FieldError::new(pointer, error.inner().to_string())]
    })
}

/// The options of a `webhook` trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebhookOptions {
    /// How a delivery is verified.
    pub verify: Verify,
    /// How a repetition is told; Standard Webhooks bring their own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<Dedupe>,
    /// The largest body taken, up to 10 MiB.
    pub max_body_bytes: u32,
    /// How the provider's handshake is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            verify: Verify::default(),
            dedupe: None,
            max_body_bytes: BODY_DEFAULT,
            challenge: None,
        }
    }
}

/// How a delivery is verified. Fields that the scheme does not use are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// The scheme; `standard_webhooks` unless said.
    pub scheme: Scheme,
    /// `hmac`: the hash function; `sha256` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// `hmac`, `bearer`: the header that carries the proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// `hmac`: how the header is written; `hex` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// `hmac`, `bearer`: what stands before the proof, such as `sha256=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// `hmac`: a header with the time in Unix seconds; then `<time>.<body>` is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// How far that time may be from now; 300 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_seconds: Option<u32>,
}

#[allow(
    clippy::derivable_impls,
    reason = "text_enum declares the variants, so there is none to mark"
)]
impl Default for Scheme {
    fn default() -> Self {
        Self::StandardWebhooks
    }
}

/// Where the provider's id of a delivery is. Exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dedupe {
    /// In this header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// In the payload at this JSON Pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_pointer: Option<String>,
    /// Nowhere: the same body within the window counts as the same delivery.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub body_hash: bool,
    /// With `body_hash`: for how long; 300 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u32>,
}

/// A handshake: the provider sends a word and wants it back. Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Challenge {
    /// In the verified payload at this JSON Pointer; answered as `{"challenge": …}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_pointer: Option<String>,
    /// In this query parameter, before anything is signed; answered as plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl WebhookOptions {
    /// Reads options; every refused field is named by its pointer within a trigger.
    pub(crate) fn parse(value: &Value) -> Result<Self, Vec<FieldError>> {
        let options: Self = read(value)?;
        let errors = options.errors();
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    fn errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |pointer: &str, message: &str| {
            errors.push(FieldError::new(format!("/options/{pointer}"), message));
        };
        if !(1..=BODY_CAP).contains(&self.max_body_bytes) {
            refuse("max_body_bytes", "must be between 1 and 10485760");
        }
        self.verify.check(&mut refuse);
        if let Some(dedupe) = &self.dedupe {
            dedupe.check(&mut refuse);
        }
        if let Some(challenge) = &self.challenge {
            challenge.check(&mut refuse);
        }
        errors
    }

    /// Whether a secret is needed to verify.
    pub(crate) fn needs_secret(&self) -> bool {
        self.verify.scheme != Scheme::None
    }
}

impl Verify {
    /// How far a signed time may be from now, in seconds.
    pub fn tolerance(&self) -> i64 {
        i64::from(self.tolerance_seconds.unwrap_or(300))
    }

    fn check(&self, refuse: &mut impl FnMut(&str, &str)) {
        let hmac = self.scheme == Scheme::Hmac;
        let timed =
            hmac && self.timestamp_header.is_some() || self.scheme == Scheme::StandardWebhooks;
        let headed = hmac || self.scheme == Scheme::Bearer;
        let unused = [
            ("verify/algorithm", self.algorithm.is_some(), hmac),
            ("verify/encoding", self.encoding.is_some(), hmac),
            ("verify/timestamp_header", self.timestamp_header.is_some(), hmac),
            ("verify/header", self.header.is_some(), headed),
            ("verify/prefix", self.prefix.is_some(), headed),
            ("verify/tolerance_seconds", self.tolerance_seconds.is_some(), timed),
        ];
        for (pointer, _, _) in unused.iter().filter(|(_, said, used)| *said && !used) {
            refuse(pointer, &format!("has no meaning with the scheme `{}`", self.scheme));
        }
        if hmac && self.header.is_none() {
            refuse("verify/header", "name the header that carries the signature");
        }
        for (pointer, name) in
            [("verify/header", &self.header), ("verify/timestamp_header", &self.timestamp_header)]
        {
            check_header(pointer, name.as_deref(), refuse);
        }
        if self.tolerance_seconds.is_some_and(|seconds| !(1..=TOLERANCE_CAP).contains(&seconds)) {
            refuse("verify/tolerance_seconds", "must be between 1 and 86400");
        }
    }
}

impl Dedupe {
    /// For how long the same body counts as the same delivery, in seconds.
    pub(crate) fn window(&self) -> i64 {
        i64::from(self.window_seconds.unwrap_or(300))
    }

    fn check(&self, refuse: &mut impl FnMut(&str, &str)) {
        let said = [self.header.is_some(), self.json_pointer.is_some(), self.body_hash];
        if said.iter().filter(|said| **said).count() != 1 {
            refuse("dedupe", "say exactly one of header, json_pointer, body_hash");
        }
        check_header("dedupe/header", self.header.as_deref(), refuse);
        check_pointer("dedupe/json_pointer", self.json_pointer.as_deref(), refuse);
        match self.window_seconds {
            Some(_) if !self.body_hash => {
                refuse("dedupe/window_seconds", "only used with body_hash");
            }
            Some(seconds) if !(1..=WINDOW_CAP).contains(&seconds) => {
                refuse("dedupe/window_seconds", "must be between 1 and 604800");
            }
            _ => {}
        }
    }
}

impl Challenge {
    fn check(&self, refuse: &mut impl FnMut(&str, &str)) {
        if self.json_pointer.is_some() == self.query.is_some() {
            refuse("challenge", "say exactly one of json_pointer, query");
        }
        check_pointer("challenge/json_pointer", self.json_pointer.as_deref(), refuse);
    }
}

fn check_header(pointer: &str, name: Option<&str>, refuse: &mut impl FnMut(&str, &str)) {
    if name.is_some_and(|name| http::HeaderName::try_from(name).is_err()) {
        refuse(pointer, "not a header name");
    }
}

fn check_pointer(pointer: &str, value: Option<&str>, refuse: &mut impl FnMut(&str, &str)) {
    if value.is_some_and(|value| !value.starts_with('/')) {
        refuse(pointer, "a JSON Pointer starts with a slash");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(value: &Value) -> Vec<String> {
        WebhookOptions::parse(value).unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn nothing_said_means_standard_webhooks_of_a_mebibyte() {
        let options = WebhookOptions::parse(&json!({})).unwrap();

        assert_eq!(options, WebhookOptions::default());
        assert_eq!(options.verify.scheme, Scheme::StandardWebhooks);
        assert!(options.needs_secret());
    }

    #[test]
    fn every_refused_field_is_named() {
        let table = [
            (json!({ "verify": { "schema": "hmac" } }), vec!["/options/verify/schema"]),
            (json!({ "verify": { "scheme": "magic" } }), vec!["/options/verify/scheme"]),
            (json!({ "verify": { "scheme": "hmac" } }), vec!["/options/verify/header"]),
            (
                json!({ "max_body_bytes": 0, "verify": { "scheme": "none", "prefix": "x" } }),
                vec!["/options/max_body_bytes", "/options/verify/prefix"],
            ),
            (json!({ "dedupe": {} }), vec!["/options/dedupe"]),
            (json!({ "dedupe": { "json_pointer": "id" } }), vec!["/options/dedupe/json_pointer"]),
            (
                json!({ "challenge": { "query": "a", "json_pointer": "/b" } }),
                vec!["/options/challenge"],
            ),
            (json!({ "max_body_bytes": 20_000_000 }), vec!["/options/max_body_bytes"]),
        ];
        for (value, expected) in table {
            assert_eq!(pointers(&value), expected, "{value}");
        }
    }
}
