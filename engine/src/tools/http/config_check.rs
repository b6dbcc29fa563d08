//! What of an HTTP tool's configuration is refused when it is saved.

use http::{HeaderName, HeaderValue};
use serde_json::Value;
use servicekit::{
    FieldError,
    egress::{HostPattern, MAX_RESPONSE_BYTES},
};

use super::{CredentialPlace, HttpConfig, Place, template};

/// Headers that belong to the connection or to the client.
const RESERVED: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept-encoding",
    "proxy-connection",
];

impl HttpConfig {
    /// Lists every field that cannot be so.
    pub(crate) fn check(&self, parameters: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse =
            |pointer: String, message: String| errors.push(FieldError::new(pointer, message));
        if let Err(why) = check_url(&self.url) {
            refuse("/config/url".into(), why);
        }
        for (name, value) in &self.headers {
            if let Err(why) = check_header(name, value) {
                refuse(format!("/config/headers/{name}"), why);
            }
        }
        for (index, host) in self.allowed_hosts.iter().enumerate() {
            if HostPattern::parse(host).is_none() {
                refuse(
                    format!("/config/allowed_hosts/{index}"),
                    "a host such as `*.example.com:8443`".into(),
                );
            }
        }
        if let Some(Err((field, why))) = self.credential.as_ref().map(CredentialPlace::check) {
            refuse(format!("/config/credential/{field}"), why);
        }
        if !(1..=MAX_RESPONSE_BYTES).contains(&self.max_response_bytes) {
            refuse("/config/max_response_bytes".into(), format!("from 1 to {MAX_RESPONSE_BYTES}"));
        }
        let expires = self.callback.map(|callback| callback.expires_seconds);
        if expires.is_some_and(|seconds| !(1..=2_592_000).contains(&seconds)) {
            refuse("/config/callback/expires_seconds".into(), "from 1 second to 30 days".into());
        }
        if self.success.iter().any(|status| !(200..=599).contains(status)) {
            refuse("/config/success".into(), "HTTP statuses".into());
        }
        if check_header(&self.idempotency_header, "").is_err() {
            refuse("/config/idempotency_header".into(), "a header's name".into());
        }
        if self.body.is_some() && !self.method.has_body() {
            refuse("/config/body".into(), "only POST, PUT and PATCH send a body".into());
        }
        for name in self.join.keys() {
            if parameters.get("properties").and_then(|all| all.get(name)).is_none() {
                refuse(format!("/config/join/{name}"), "not among the tool's parameters".into());
            }
        }
        for (pointer, name) in self.named() {
            if parameters.pointer(&format!("/properties/{name}")).is_none() {
                refuse(pointer, format!("`{{{name}}}` is not among the tool's parameters"));
            }
        }
        errors
    }

    /// Every argument the templates name, and where.
    fn named(&self) -> Vec<(String, &str)> {
        let url = template::names(&self.url).map(|name| ("/config/url".to_owned(), name));
        let headers = self.headers.iter().flat_map(|(header, value)| {
            template::names(value).map(move |name| (format!("/config/headers/{header}"), name))
        });
        let body = self
            .body
            .iter()
            .flat_map(template::names_in)
            .map(|name| ("/config/body".to_owned(), name));
        url.chain(headers).chain(body).collect()
    }
}

fn check_url(url: &str) -> Result<(), String> {
    let (base, rest) = template::split(url).ok_or("a URL that begins with https:// or http://")?;
    if base.contains(['{', '}']) {
        return Err("the host is fixed: no arguments before the path".into());
    }
    let base: url::Url = base.parse().map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
        return Err("a URL that begins with https:// or http://".into());
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err("no credentials in the URL: attach a credential instead".into());
    }
    if rest.contains(['#', '\\']) {
        return Err("no fragment and no backslash".into());
    }
    if rest.contains("{{") {
        return Err("arguments stand in single braces: `{name}`".into());
    }
    let path = rest.split('?').next().unwrap_or_default();
    if path.split('/').any(super::render::is_dots) {
        return Err("no `.` or `..` in the path".into());
    }
    Ok(())
}

/// Whether a header, in lower case, is one that secrets are sent in.
pub(crate) fn looks_secret(header: &str) -> bool {
    let words = ["authorization", "cookie", "api-key", "apikey", "token", "secret", "password"];
    words.iter().any(|word| header.contains(word))
}

pub(super) fn check_header(name: &str, value: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if HeaderName::from_bytes(lower.as_bytes()).is_err() {
        return Err("not a header's name".into());
    }
    if HeaderValue::from_str(value).is_err() {
        return Err("not a header's value".into());
    }
    if RESERVED.contains(&lower.as_str()) {
        return Err("this header is not yours to set".into());
    }
    if looks_secret(&lower) {
        return Err("this looks like a secret: attach a credential instead".into());
    }
    Ok(())
}

impl CredentialPlace {
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |field, why: &str| Err((field, why.to_owned()));
        match (self.place, self.name.as_deref()) {
            (Place::Header, None) => return wrong("name", "which header?"),
            (Place::Query, None | Some("")) => return wrong("name", "which query parameter?"),
            (Place::Bearer | Place::Basic, Some(_)) => {
                return wrong("name", "only for header and query");
            }
            (Place::Header, Some(name)) => {
                let lower = name.to_ascii_lowercase();
                let bad = HeaderName::from_bytes(lower.as_bytes()).is_err()
                    || RESERVED.contains(&lower.as_str());
                if bad {
                    return wrong("name", "not a header that can carry a credential");
                }
            }
            (Place::Query, Some(_)) | (Place::Bearer | Place::Basic, None) => {}
        }
        if !self.prefix.is_empty() && self.place != Place::Header {
            return wrong("prefix", "only for header");
        }
        if HeaderValue::from_str(&self.prefix).is_err() {
            return wrong("prefix", "not part of a header's value");
        }
        if self.username_field.is_some() && self.place != Place::Basic {
            return wrong("username_field", "only for basic");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(config: Value) -> Vec<String> {
        let config: HttpConfig = serde_json::from_value(config).unwrap();
        let parameters = json!({ "type": "object", "properties": { "id": {} } });
        config.check(&parameters).into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_sound_configuration_passes() {
        let config = json!({ "method": "POST", "url": "https://api.example.com:8443/items/{id}?q={id}",
            "headers": { "X-Mode": "fast {id}", "Accept": "application/json" }, "body": { "id": "{id}" },
            "allowed_hosts": ["*.example.com"],
            "credential": { "in": "header", "name": "X-Api-Key", "prefix": "Token ", "field": "key" } });
        assert_eq!(pointers(config), Vec::<String>::new());
    }

    #[test]
    fn the_host_is_fixed_and_plain() {
        let refused = [
            "https://{id}.example.com/",
            "https://{id}/",
            "https://example.com{id}/x",
            "https://example.com:{id}/",
            "{id}",
            "ftp://example.com/",
            "https:///x",
            "https://me:pw@example.com/",
            "https://example.com/../x",
            "https://example.com/a/%2e%2E/x",
            "https://example.com/#x",
            "https://example.com\\{id}",
            "https://example.com/{{id}}",
            "/x",
            "",
        ];
        for url in refused {
            assert_eq!(pointers(json!({ "url": url })), ["/config/url"], "{url}");
        }
    }

    #[test]
    fn every_wrong_field_is_listed() {
        let config = json!({ "url": "https://example.com/{nobody}", "body": { "a": ["{none}"] },
            "headers": { "Authorization": "Bearer x", "Host": "evil", "X-Ok": "{what}", "b d": "" },
            "allowed_hosts": ["ok.example.com", "http://x"], "credential": { "in": "query" },
            "max_response_bytes": 0, "success": [99], "idempotency_header": "a b" });
        assert_eq!(
            pointers(config),
            [
                "/config/headers/Authorization",
                "/config/headers/Host",
                "/config/headers/b d",
                "/config/allowed_hosts/1",
                "/config/credential/name",
                "/config/max_response_bytes",
                "/config/success",
                "/config/idempotency_header",
                "/config/body",
                "/config/url",
                "/config/headers/X-Ok",
                "/config/body",
            ]
        );
    }
}
