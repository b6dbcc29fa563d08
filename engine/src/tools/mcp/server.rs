//! What people write down about a server.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use servicekit::FieldError;
use utoipa::ToSchema;

use super::Connection;
use crate::tools::http::{CredentialPlace, looks_secret};

/// A server as it can be edited. A patch is merged into this form and read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "tickets", "url": "https://mcp.example.com/mcp",
    "credential": { "in": "bearer" }, "exclude": ["delete_*"] }))]
pub(crate) struct ServerFields {
    /// Unique in the tenant; part of the name of each of its tools: `mcp__{server}__{tool}`.
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,31}$")]
    pub(crate) name: String,
    /// Where it speaks streamable HTTP.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// Instead of a URL, a program of this machine and its arguments: only one that the operator lists in
    /// `SWITCHYARD_MCP_COMMANDS`.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// Sent with every request. Never a secret: that is what credentials are for.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Where an agent's credential goes. Without this none is sent.
    #[serde(default)]
    pub(crate) credential: Option<CredentialPlace>,
    /// The server's tools that are wanted, with `*` for anything; all of them when empty.
    #[serde(default)]
    pub(crate) include: Vec<String>,
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    /// A call that takes longer is given up.
    #[serde(default = "crate::tools::half_a_minute")]
    #[schema(minimum = 100, maximum = 600_000)]
    pub(crate) timeout_ms: u32,
}

impl ServerFields {
    pub(crate) fn connection(&self) -> Connection {
        Connection {
            url: self.url.clone(),
            command: self.command.clone(),
            headers: self.headers.clone(),
            credential: self.credential.clone(),
        }
    }

    /// Lists every field that cannot be so. `allows` says which programs may be run.
    pub(crate) fn check(&self, allows: impl Fn(&str) -> bool) -> Result<(), Vec<FieldError>> {
        let mut errors =
            crate::definition::unstorable(&serde_json::to_value(self).unwrap_or_default(), "");
        let mut refuse = |wrong: bool, pointer: &str, message: &str| {
            if wrong {
                errors.push(FieldError::new(pointer, message));
            }
        };
        refuse(!is_name(&self.name), "/name", "1 to 32 of a-z, 0-9, `_` and `-`");
        refuse(!(100..=600_000).contains(&self.timeout_ms), "/timeout_ms", "from 100 to 600000");
        refuse(self.url.is_some() != self.command.is_empty(), "/url", "either `url` or `command`");
        if let Some(url) = &self.url {
            let good = url::Url::parse(url).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
            });
            refuse(
                !good,
                "/url",
                "a URL that begins with https:// or http://, without credentials",
            );
        }
        if let Some(program) = self.command.first() {
            refuse(!allows(program), "/command/0", "the operator does not allow this program");
            let unused = self.credential.is_some() || !self.headers.is_empty();
            refuse(unused, "/credential", "a program gets neither credential nor headers");
        }
        for (name, value) in &self.headers {
            let pointer = format!("/headers/{name}");
            let lower = name.to_ascii_lowercase();
            let bad = HeaderName::from_bytes(lower.as_bytes()).is_err()
                || HeaderValue::from_str(value).is_err()
                || lower.starts_with("mcp-")
                || ["host", "accept", "content-type", "content-length", "last-event-id"]
                    .contains(&lower.as_str());
            refuse(bad, &pointer, "not a header that you can set");
            let secret = looks_secret(&lower);
            refuse(secret, &pointer, "this looks like a secret: attach a credential instead");
        }
        let places = self.credential.iter().filter_map(|place| place.check().err());
        errors.extend(
            places.map(|(field, why)| FieldError::new(format!("/credential/{field}"), why)),
        );
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    (1..=32).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with(['_', '-'])
}
