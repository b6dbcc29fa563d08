//! What happens to every request before anything looks at it: its path is one that can be read in one way only, and
//! headers by which services talk to each other are ours, not the client's.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use ipnet::IpNet;
use servicekit::Problem;

use super::{Edge, path};
use crate::codes;

/// Headers that mean something between services, or say who the client is. A client has no say in them.
const OURS: &[&str] = &[
    "x-subject-token",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-original-url",
    "x-rewrite-url",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "tracestate",
    "baggage",
];
/// Also ours, whatever follows.
const OUR_PREFIX: &str = "x-switchyard-";
/// Meant for the next server only (RFC 9110, section 7.6.1), and what would bind us to the client's connection.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The client's address, as far as it can be known.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientIp(pub(super) IpAddr);

pub(super) async fn clean(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    if !path::is_plain(request.uri().path()) {
        let detail = "send the path without dots, doubled or encoded slashes and backslashes";
        return Problem::new(&codes::SUSPICIOUS_PATH, detail).into_response();
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let peer = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let client = replace_headers(request.headers_mut(), peer, &edge.trusted, authority.as_deref());
    request.extensions_mut().insert(ClientIp(client));
    next.run(request).await
}

/// Removes what is meant for one hop, from requests and answers alike.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

fn replace_headers(
    headers: &mut HeaderMap,
    peer: IpAddr,
    trusted: &[IpNet],
    authority: Option<&str>,
) -> IpAddr {
    let believed = is_trusted(peer, trusted);
    let client = if believed { client_behind(headers, peer, trusted) } else { peer };
    let said = |name: &str| {
        let value = headers.get(name).filter(|_| believed)?;
        value.to_str().ok().map(str::to_owned)
    };
    let proto = said("x-forwarded-proto").filter(|proto| proto == "https");
    let proto = proto.unwrap_or_else(|| "http".into());
    let host = said("x-forwarded-host")
        .or_else(|| headers.get(header::HOST)?.to_str().ok().map(str::to_owned))
        .or_else(|| authority.map(str::to_owned))
        .filter(|host| is_host(host));

    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| OURS.contains(&name.as_str()) || name.as_str().starts_with(OUR_PREFIX))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
    let node = if client.is_ipv6() { format!("\"[{client}]\"") } else { client.to_string() };
    let named = host.as_ref().map(|host| format!(";host=\"{host}\"")).unwrap_or_default();
    let forwarded = format!("for={node};proto={proto}{named}");
    let set = [
        ("x-forwarded-for", Some(client.to_string())),
        ("x-forwarded-proto", Some(proto)),
        ("x-forwarded-host", host),
        ("forwarded", Some(forwarded)),
    ];
    for (name, value) in set {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    client
}

/// The last address in `X-Forwarded-For` that is not one of our own proxies.
fn client_behind(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let lines: Vec<&HeaderValue> = headers.get_all("x-forwarded-for").iter().collect();
    let hops = lines.iter().rev().flat_map(|line| {
        line.to_str().unwrap_or_default().rsplit(',').map(str::trim).collect::<Vec<_>>()
    });
    for hop in hops {
        let Ok(hop) = hop.parse() else { break };
        client = hop;
        if !is_trusted(hop, trusted) {
            break;
        }
    }
    client
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 255
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn what_a_client_says_of_itself_is_replaced_unless_a_trusted_proxy_says_it() {
        let said = [
            ("x-forwarded-for", "6.6.6.6, 9.9.9.9, 10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-subject-token", "x"),
            ("x-switchyard-anything", "x"),
            ("host", "sy.example"),
        ];
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];

        let mut direct = headers(&said);
        let client = replace_headers(&mut direct, "1.2.3.4".parse().unwrap(), &proxies, None);
        assert_eq!(client.to_string(), "1.2.3.4");
        assert_eq!(direct["x-forwarded-for"], "1.2.3.4");
        assert_eq!(direct["forwarded"], "for=1.2.3.4;proto=http;host=\"sy.example\"");
        assert!(!direct.contains_key("x-subject-token"));
        assert!(!direct.contains_key("x-switchyard-anything"));

        let mut proxied = headers(&said);
        let client = replace_headers(&mut proxied, "10.0.0.1".parse().unwrap(), &proxies, None);
        assert_eq!(client.to_string(), "9.9.9.9");
        assert_eq!(proxied["x-forwarded-proto"], "https");
    }

    #[test]
    fn headers_that_a_connection_names_go_with_it() {
        let mut found =
            headers(&[("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "gzip")]);
        found.insert("accept", HeaderValue::from_static("*/*"));

        remove_hop_by_hop(&mut found);

        assert_eq!(found, headers(&[("accept", "*/*")]));
    }
}
