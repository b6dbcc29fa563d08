//! Host names as people write them in lists: `api.example.com`, `*.example.com`, `api.example.com:8443`.

use std::fmt;

use url::{Host, Url};

/// One entry of a list of hosts. Without a port it means every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// Lowercase, without a trailing dot; of a wildcard what follows `*.`.
    host: String,
    wildcard: bool,
    port: Option<u16>,
}

impl HostPattern {
    /// Every host: for calls that carry no secret and whose URL nobody has fixed.
    pub fn any() -> Self {
        Self { host: String::new(), wildcard: true, port: None }
    }

    /// Reads an entry; none when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let (wildcard, host) = match host.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, host),
        };
        let host = Host::parse(host).ok()?.to_string();
        let host = host.trim_end_matches('.').to_owned();
        (!host.is_empty() && !host.contains('*')).then_some(Self { host, wildcard, port })
    }

    /// Whether a URL's host and port are meant.
    pub fn matches_url(&self, url: &Url) -> bool {
        let port = url.port_or_known_default().unwrap_or_default();
        url.host_str().is_some_and(|host| self.matches(host, port))
    }

    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.');
        let named = if self.host.is_empty() {
            true
        } else if self.wildcard {
            host.strip_suffix(&self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == self.host
        };
        named && self.port.is_none_or(|only| only == port)
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.wildcard { "*." } else { "" })?;
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// `host:port`, `[v6]:port`, or a host alone.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => Some((host, Some(port.parse().ok()?))),
        _ => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_host_its_subdomains_or_one_port_of_it() {
        let table = [
            ("api.example.com", "https://API.example.com./x", true),
            ("api.example.com", "https://api.example.com:8443/", true),
            ("api.example.com", "https://example.com/", false),
            ("api.example.com", "https://api.example.com.evil.org/", false),
            ("*.example.com", "https://a.b.example.com/", true),
            ("*.example.com", "https://example.com/", false),
            ("*.example.com", "https://badexample.com/", false),
            ("api.example.com:443", "https://api.example.com/", true),
            ("api.example.com:443", "http://api.example.com/", false),
            ("127.0.0.1:9000", "http://127.0.0.1:9000/", true),
            ("[::1]:9000", "http://[::1]:9000/", true),
            ("[::1]", "http://[::1]/", true),
        ];
        for (pattern, url, expected) in table {
            let pattern = HostPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches_url(&url.parse().unwrap()), expected, "{pattern} {url}");
        }
    }

    #[test]
    fn any_host_is_every_host() {
        assert!(HostPattern::any().matches_url(&"https://x.example:8443/".parse().unwrap()));
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for text in ["", "*", "*.", "a b", "http://x", "x:y", "x/y", "a.*.b"] {
            assert_eq!(HostPattern::parse(text), None, "{text}");
        }
    }
}
