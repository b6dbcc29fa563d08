//! Whom the operator lets outgoing calls reach beyond the public internet.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use url::{Host, Url};

use super::{address, hosts::HostPattern};

/// The operator's exceptions. Without any, only public addresses are reached.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    /// Addresses, perhaps on one port only.
    Net(IpNet, Option<u16>),
    /// Names, whatever private address they have.
    Name(HostPattern),
}

/// An entry of the operator's list that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a host, an address nor a network, each with an optional port")]
pub struct BadRule(String);

impl EgressPolicy {
    /// Reads a list such as `127.0.0.1:9000,10.0.0.0/8,*.internal,[::1]:8080`.
    pub fn parse(text: &str) -> Result<Self, BadRule> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let rules = entries.map(|entry| rule(entry).ok_or_else(|| BadRule(entry.to_owned())));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// The same rules and one for the host and port of a URL.
    pub(super) fn also_allowing(&self, url: &Url) -> Self {
        let port = url.port_or_known_default().unwrap_or_default();
        let entry = format!("{}:{port}", url.host_str().unwrap_or_default());
        let rules = self.rules.iter().cloned().chain(rule(&entry)).collect();
        Self { rules }
    }

    /// What can be said before the name is resolved: the scheme, and an address in place of a name.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` is neither http nor https", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("credentials do not belong into a URL".into());
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let literal = match url.host() {
            None => return Err("the URL names no host".into()),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
        };
        if self.allows("", literal, port) {
            Ok(())
        } else {
            Err(format!("{literal} is not a public address"))
        }
    }

    /// Whether `name` on `port` may be reached at `address`. A name that was allowed still does not open link-local
    /// addresses, as whoever answers for the name would choose among them: that takes a rule for the address itself.
    pub(super) fn allows(&self, name: &str, address: IpAddr, port: u16) -> bool {
        let address = address::unwrapped(address);
        address::is_public(address)
            || self.rules.iter().any(|rule| match rule {
                Rule::Net(net, on) => net.contains(&address) && on.is_none_or(|on| on == port),
                Rule::Name(pattern) => {
                    pattern.matches(name, port) && !address::is_link_local(address)
                }
            })
    }

    /// The ports that rules single out.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        let port = |rule: &Rule| match rule {
            Rule::Net(_, port) => *port,
            Rule::Name(pattern) => pattern.port(),
        };
        self.rules.iter().filter_map(port).collect()
    }
}

fn rule(entry: &str) -> Option<Rule> {
    if let Ok(net) = entry.parse::<IpNet>() {
        return Some(Rule::Net(net.trunc(), None));
    }
    if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(Rule::Net(address::unwrapped(address).into(), None));
    }
    if let Ok(socket) = entry.parse::<std::net::SocketAddr>() {
        return Some(Rule::Net(address::unwrapped(socket.ip()).into(), Some(socket.port())));
    }
    HostPattern::parse(entry).map(Rule::Name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rules: &str, name: &str, address: &str, port: u16) -> bool {
        EgressPolicy::parse(rules).unwrap().allows(name, address.parse().unwrap(), port)
    }

    #[test]
    fn a_rule_opens_what_it_names_and_nothing_else() {
        assert!(allows("127.0.0.1:9000", "localhost", "127.0.0.1", 9000));
        assert!(!allows("127.0.0.1:9000", "localhost", "127.0.0.1", 9001));
        assert!(!allows("127.0.0.1:9000", "localhost", "127.0.0.2", 9000));
        assert!(allows("[::1]:9000", "localhost", "::1", 9000));
        assert!(allows("10.0.0.0/8", "x", "::ffff:10.9.9.9", 80));
        assert!(allows("wiki.corp", "wiki.corp.", "10.0.0.1", 80));
        assert!(allows("*.internal:8080", "a.b.internal", "fd00::1", 8080));
        assert!(!allows("*.internal", "internal", "10.0.0.1", 80));
        assert!(!allows("*.internal", "notinternal", "10.0.0.1", 80));
        assert!(allows("", "example.com", "93.184.215.14", 443));
        assert!(!allows("", "example.com", "10.0.0.1", 443));
    }

    #[test]
    fn a_name_never_opens_the_metadata_service_but_its_address_does() {
        assert!(!allows("*.internal", "metadata.google.internal", "169.254.169.254", 80));
        assert!(allows("169.254.169.254", "metadata.google.internal", "169.254.169.254", 80));
    }

    #[test]
    fn addresses_in_disguise_are_seen_through() {
        let policy = EgressPolicy::default();
        let refused = [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://169.254.169.254/latest",
            "http://user:pw@example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
        ];
        for text in refused {
            assert!(policy.check_url(&text.parse().unwrap()).is_err(), "{text}");
        }
        assert_eq!(policy.check_url(&"https://example.com:8443/x".parse().unwrap()), Ok(()));
    }

    #[test]
    fn nonsense_is_named() {
        for entry in ["10.0.0.0/33", "a b", "http://x", "x:99999", "*", "*."] {
            assert_eq!(EgressPolicy::parse(entry).unwrap_err(), BadRule(entry.into()));
        }
    }
}
