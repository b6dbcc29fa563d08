//! How a delivery proves where it comes from, as a trigger says it.

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

const TOLERANCE_CAP: u32 = 24 * 60 * 60;

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
        /// GitHub's `X-Hub-Signature-256`.
        Github = "github",
        /// Slack's `X-Slack-Signature`.
        Slack = "slack",
        /// Stripe's `Stripe-Signature`.
        Stripe = "stripe",
        /// HubSpot's `X-HubSpot-Signature-v3`; needs the public address.
        Hubspot = "hubspot",
        /// HubSpot's `X-HubSpot-Signature` of versions 1 and 2, which sign no time: only where version 3 is not sent.
        HubspotV1 = "hubspot_v1",
        /// The token that Google Pub/Sub sends along; needs `audience` and `service_account`, and no credential.
        GoogleOidc = "google_oidc",
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
    /// How far a signed time may be from now; 300 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_seconds: Option<u32>,
    /// `hubspot`, `hubspot_v1`: the public address that is signed, when it is not the platform's own
    /// (`SWITCHYARD_PUBLIC_URL` and the hook's path).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// `google_oidc`: the audience of the push subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// `google_oidc`: the e-mail address of the account that the subscription pushes as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
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

impl Verify {
    /// How far a signed time may be from now, in seconds.
    pub fn tolerance(&self) -> i64 {
        i64::from(self.tolerance_seconds.unwrap_or(300))
    }

    /// Whether a key of the trigger's own is needed.
    pub(crate) fn needs_secret(&self) -> bool {
        !matches!(self.scheme, Scheme::None | Scheme::GoogleOidc)
    }

    /// Whether the scheme signs the address.
    pub(crate) fn signs_address(&self) -> bool {
        matches!(self.scheme, Scheme::Hubspot | Scheme::HubspotV1)
    }

    pub(super) fn check(&self, refuse: &mut impl FnMut(&str, &str)) {
        let hmac = self.scheme == Scheme::Hmac;
        let google = self.scheme == Scheme::GoogleOidc;
        let timed = hmac && self.timestamp_header.is_some()
            || matches!(
                self.scheme,
                Scheme::StandardWebhooks | Scheme::Slack | Scheme::Stripe | Scheme::Hubspot
            );
        let headed = hmac || self.scheme == Scheme::Bearer;
        let unused = [
            ("verify/algorithm", self.algorithm.is_some(), hmac),
            ("verify/encoding", self.encoding.is_some(), hmac),
            ("verify/timestamp_header", self.timestamp_header.is_some(), hmac),
            ("verify/header", self.header.is_some(), headed),
            ("verify/prefix", self.prefix.is_some(), headed),
            ("verify/tolerance_seconds", self.tolerance_seconds.is_some(), timed),
            ("verify/public_url", self.public_url.is_some(), self.signs_address()),
            ("verify/audience", self.audience.is_some(), google),
            ("verify/service_account", self.service_account.is_some(), google),
        ];
        for (pointer, _, _) in unused.iter().filter(|(_, said, used)| *said && !used) {
            refuse(pointer, &format!("has no meaning with the scheme `{}`", self.scheme));
        }
        if hmac && self.header.is_none() {
            refuse("verify/header", "name the header that carries the signature");
        }
        if google && self.audience.as_deref().is_none_or(str::is_empty) {
            refuse("verify/audience", "name the audience of the push subscription");
        }
        if google && self.service_account.as_deref().is_none_or(str::is_empty) {
            refuse("verify/service_account", "name the account the subscription pushes as");
        }
        if let Some(url) = &self.public_url
            && !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        {
            refuse("verify/public_url", "must be an http or https address");
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

pub(super) fn check_header(pointer: &str, name: Option<&str>, refuse: &mut impl FnMut(&str, &str)) {
    if name.is_some_and(|name| http::HeaderName::try_from(name).is_err()) {
        refuse(pointer, "not a header name");
    }
}
