//! A tool that is one HTTP request.
//!
//! Invariant: the model's arguments end up inside a path segment, a query value, a header value or the body, each
//! encoded for its place. The host is fixed by whoever wrote the tool, and the secret is never among the arguments.

mod call;
mod config_check;
mod credential;
mod render;
mod template;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::egress::HostPattern;
use shared_models::Effect;
use utoipa::ToSchema;

pub(crate) use call::{call, secret};
pub(crate) use config_check::looks_secret;
pub(crate) use credential::injection;

/// How the request is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpConfig {
    #[serde(default)]
    pub(crate) method: Method,
    /// Like `https://api.example.com/items/{id}?fields={fields}`: `{name}` is an argument, encoded for its place. The
    /// host is fixed. A query parameter whose argument is missing is left out.
    pub(crate) url: String,
    /// Headers, with `{name}` for arguments. Never a secret: that is what credentials are for.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// A JSON body in which the string `"{name}"` stands for the whole argument, and `{name}` within a longer string for
    /// its text. Without one, POST, PUT and PATCH send the arguments used nowhere else as a JSON object; other methods
    /// send them as query parameters.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) body: Option<Value>,
    /// How the body is written down.
    #[serde(default)]
    pub(crate) encoding: Encoding,
    /// Arguments that are lists and stand as one text, with what stands between the items: `{"ids": ","}`. Otherwise a
    /// list in the query is one parameter for each item.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) join: BTreeMap<String, String>,
    /// Whom a call may reach, redirects included: hosts, `*.` wildcards, ports. The URL's host unless said.
    #[serde(default)]
    pub(crate) allowed_hosts: Vec<String>,
    /// Where the agent's credential goes. Without this none is sent.
    #[serde(default)]
    pub(crate) credential: Option<CredentialPlace>,
    /// How much of an answer the model gets; what is longer is cut, and says so.
    #[serde(default = "default_response_bytes")]
    #[schema(minimum = 1, maximum = 1_048_576)]
    pub(crate) max_response_bytes: usize,
    /// The statuses that mean it worked; every 2xx unless said.
    #[serde(default)]
    pub(crate) success: Vec<u16>,
    /// The other side may take a call with 202 and bring its answer later: each call then carries a token in the header
    /// `Switchyard-Callback-Token`, for `POST /v1/callbacks/{token}`. Any other answer is one at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) callback: Option<Callback>,
    /// The header that carries the key of a `keyed` call.
    #[serde(default = "default_idempotency_header")]
    pub(crate) idempotency_header: String,
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Callback {
    /// After this an unsafe or keyed call is in doubt, and any other has failed. A day unless said.
    #[serde(default = "a_day")]
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub(crate) expires_seconds: u32,
}

fn a_day() -> u32 {
    24 * 3600
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// `application/json`.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`: the body's members, a list once for each item.
    Form,
}

/// Where on the request the secret goes, and which field of the credential it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialPlace {
    #[serde(rename = "in")]
    pub(crate) place: Place,
    /// The header or query parameter; only for these.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// What stands before the secret in a header, such as `Token `.
    #[serde(default)]
    pub(crate) prefix: String,
    /// The credential's field with the secret. Unless said: its only field, or the first of `api_key`, `access_token`,
    /// `token`, `secret`, `password`.
    #[serde(default)]
    pub(crate) field: Option<String>,
    /// For `basic`, the field with the user name.
    #[serde(default)]
    pub(crate) username_field: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    Header,
    Query,
    Bearer,
    Basic,
}

impl Method {
    /// What a repeat does, as HTTP defines the methods.
    pub(crate) fn effect(self) -> Effect {
        match self {
            Self::Get | Self::Head => Effect::Read,
            Self::Put | Self::Delete => Effect::Idempotent,
            Self::Post | Self::Patch => Effect::Unsafe,
        }
    }

    fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }

    fn wire(self) -> ::http::Method {
        match self {
            Self::Get => ::http::Method::GET,
            Self::Head => ::http::Method::HEAD,
            Self::Post => ::http::Method::POST,
            Self::Put => ::http::Method::PUT,
            Self::Patch => ::http::Method::PATCH,
            Self::Delete => ::http::Method::DELETE,
        }
    }
}

impl HttpConfig {
    /// Whom calls may reach, as they were written or by the URL.
    pub(crate) fn hosts(&self) -> Vec<String> {
        if !self.allowed_hosts.is_empty() {
            return self.allowed_hosts.clone();
        }
        let base = template::base_of(&self.url);
        let host = base.as_ref().and_then(url::Url::host_str).map(str::to_owned);
        let port = base.as_ref().and_then(url::Url::port);
        host.map(|host| port.map_or(host.clone(), |port| format!("{host}:{port}")))
            .into_iter()
            .collect()
    }

    fn host_patterns(hosts: &[String]) -> Vec<HostPattern> {
        hosts.iter().filter_map(|host| HostPattern::parse(host)).collect()
    }
}

/// Of more than a model should read at once it is shown the beginning; the rest is an artifact.
fn default_response_bytes() -> usize {
    servicekit::egress::MAX_RESPONSE_BYTES
}

fn default_idempotency_header() -> String {
    "Idempotency-Key".into()
}
