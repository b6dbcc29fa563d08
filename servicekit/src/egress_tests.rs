#![allow(clippy::disallowed_methods, reason = "test servers run beside the test")]

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

#[path = "egress_tests/redirects.rs"]
mod redirects;

const SECRET: &str = "tops3cret/value+1";

/// Says for each name which address it has at the first, second, … question; the last answer stays.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashMap<String, Vec<IpAddr>>>>);

impl Names {
    fn with(self, name: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.0.lock().unwrap().insert(name.into(), addresses);
        self
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let mut names = self.0.lock().unwrap();
        let answer = names
            .get_mut(name.as_str())
            .map(|addresses| if addresses.len() > 1 { addresses.remove(0) } else { addresses[0] });
        Box::pin(async move {
            let address = answer.ok_or("no such name")?;
            Ok(Box::new(std::iter::once(SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[derive(Clone, Debug)]
struct Seen {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: String,
}

/// A server that remembers what it was asked and answers as told.
#[derive(Clone)]
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start<A: IntoResponse + 'static>(
        answer: impl Fn(&Seen) -> A + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let seen = server.seen.clone();
        let handler = move |request: Request| {
            let (seen, answer) = (seen.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let asked = Seen {
                    method: parts.method,
                    path: parts.uri.to_string(),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                seen.lock().unwrap().push(asked.clone());
                answer(&asked).into_response()
            }
        };
        let router = Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    fn url(&self, host: &str, path: &str) -> Url {
        format!("http://{host}:{}{path}", self.port).parse().unwrap()
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn egress(rules: &str, names: Names) -> Egress {
    Egress::with_resolver(EgressPolicy::parse(rules).unwrap(), Arc::new(names)).unwrap()
}

/// A client that may reach `server` at 127.0.0.1, under the name `good.test` too.
fn reaching(server: &Server) -> Egress {
    egress(
        &format!("127.0.0.1:{}", server.port),
        Names::default().with("good.test", &["127.0.0.1"]),
    )
}

fn get(url: Url) -> Call {
    Call {
        method: Method::GET,
        allowed_hosts: vec![HostPattern::parse(url.host_str().unwrap()).unwrap()],
        url,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        injection: None,
        timeout: Duration::from_secs(10),
        max_response_bytes: MAX_RESPONSE_BYTES,
    }
}

fn post(url: Url) -> Call {
    Call { method: Method::POST, body: "{}".into(), ..get(url) }
}

fn redirect_to(status: u16, location: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, location.to_owned())])
        .into_response()
}

fn secret() -> SecretString {
    SecretString::from(SECRET)
}

#[tokio::test]
async fn a_secret_is_put_on_the_wire_and_cut_out_of_whatever_comes_back() {
    let echo = |seen: &Seen| {
        let everything = format!("{} {:?}", seen.path, seen.headers);
        let value = HeaderValue::from_str(&seen.path.replace(['\n', '\r'], "")).unwrap();
        ([(HeaderName::from_static("x-echo"), value)], everything)
    };
    let server = Server::start(echo).await;
    let egress = reaching(&server);
    let name = HeaderName::from_static("x-api-key");
    let injections = [
        Injection::Header { name, prefix: "Token ".into(), secret: secret() },
        Injection::Query { name: "key".into(), secret: secret() },
        Injection::Bearer(secret()),
        Injection::Basic { username: "me".into(), password: secret() },
    ];

    for injection in injections {
        let call = Call { injection: Some(injection), ..get(server.url("good.test", "/a?b=1")) };
        let answer = egress.send(call).await.unwrap();

        let shown = format!("{} {:?}", String::from_utf8_lossy(&answer.body), answer.headers);
        assert!(shown.contains(REDACTED), "{shown}");
        let forms = ["tops3cret", "dG9wczNjcmV0", "bWU6dG9wczNjcm"];
        assert!(!forms.iter().any(|form| shown.contains(form)), "{shown}");
    }
    let seen = server.seen();
    assert_eq!(seen[0].headers["x-api-key"], format!("Token {SECRET}"));
    assert_eq!(seen[1].path, "/a?b=1&key=tops3cret%2Fvalue%2B1");
    assert_eq!(seen[2].headers["authorization"], format!("Bearer {SECRET}"));
    assert_eq!(seen[3].headers["authorization"], "Basic bWU6dG9wczNjcmV0L3ZhbHVlKzE=");
}

#[tokio::test]
async fn a_name_with_a_private_address_is_refused_and_nobody_is_asked() {
    let server = Server::start(|_| "secret inside").await;
    let names = Names::default()
        .with("inside.test", &["127.0.0.1"])
        .with("meta.test", &["169.254.169.254"]);
    let egress = egress("", names);

    for host in ["inside.test", "meta.test", "127.0.0.1", "[::1]"] {
        let error = egress.send(get(server.url(host, "/"))).await.unwrap_err();
        assert!(matches!(error, EgressError::Denied(_)), "{host}: {error:?}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_rule_for_one_port_opens_no_other() {
    let (open, closed) = (Server::start(|_| "open").await, Server::start(|_| "closed").await);
    let egress = reaching(&open);

    assert_eq!(egress.send(get(open.url("good.test", "/"))).await.unwrap().body, b"open");
    let error = egress.send(get(closed.url("good.test", "/"))).await.unwrap_err();

    assert!(matches!(error, EgressError::Denied(_)), "{error:?}");
    assert!(closed.seen().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_again_for_each_connection() {
    let server = Server::start(|_| ([(header::CONNECTION, "close")], "once")).await;
    let names = Names::default().with("rebind.test", &["127.0.0.1", "127.0.0.2"]);
    let egress = egress(&format!("127.0.0.1:{}", server.port), names);
    let call = get(server.url("rebind.test", "/"));

    assert_eq!(egress.send(call.clone()).await.unwrap().body, b"once");
    let error = egress.send(call).await.unwrap_err();

    assert!(matches!(error, EgressError::Denied(_)), "{error:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn sizes_are_limited_and_no_cut_lets_half_a_secret_through() {
    let server = Server::start(|_| format!("{}{SECRET}{}", "x".repeat(20), "y".repeat(5000))).await;
    let egress = reaching(&server);
    let call =
        Call { injection: Some(Injection::Bearer(secret())), ..get(server.url("good.test", "/")) };

    for max_response_bytes in 24..37 {
        let answer = egress.send(Call { max_response_bytes, ..call.clone() }).await.unwrap();
        assert!(answer.truncated);
        assert_eq!(answer.body, format!("{}[redacted]", "x".repeat(20)).into_bytes());
    }
    let whole = egress.send(call.clone()).await.unwrap();
    assert!(!whole.truncated && whole.body.len() == 5030);

    let body = Bytes::from(vec![b'x'; MAX_REQUEST_BYTES + 1]);
    let error = egress.send(Call { body, ..call }).await.unwrap_err();
    assert!(matches!(error, EgressError::Denied(_)), "{error:?}");
}

#[tokio::test]
async fn an_encoded_answer_is_not_shown_as_nothing_could_be_found_in_it() {
    let server = Server::start(|_| ([(header::CONTENT_ENCODING, "gzip")], "\x1f whatever")).await;

    let answer = reaching(&server).send(get(server.url("good.test", "/"))).await.unwrap();

    assert!(String::from_utf8(answer.body).unwrap().contains("not shown"));
    assert_eq!(server.seen()[0].headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn a_failure_says_whether_anything_was_sent() {
    // Accepts, reads the request, then does as told: answers half, or closes, or says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            let asked = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if asked.contains("/half") {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf")
                    .await
                    .unwrap();
            } else if asked.contains("/silent") {
                open.push(stream);
            } else if asked.contains("/error") {
                stream
                    .write_all(b"HTTP/1.1 500 Oops\r\ncontent-length: 99\r\n\r\nhalf")
                    .await
                    .unwrap();
            }
        }
    });
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let egress = egress("127.0.0.1", Names::default());
    let send = async |port: u16, path: &str| {
        let url = format!("http://127.0.0.1:{port}{path}").parse().unwrap();
        egress.send(Call { timeout: Duration::from_millis(500), ..post(url) }).await
    };

    for path in ["/half", "/silent", "/close"] {
        let error = send(port, path).await.unwrap_err();
        assert!(matches!(error, EgressError::Unknown(_)), "{path}: {error:?}");
    }
    let error = send(port, "/error").await.unwrap();
    assert!(error.truncated && error.status == StatusCode::INTERNAL_SERVER_ERROR);
    let error = send(closed, "/").await.unwrap_err();
    assert!(matches!(error, EgressError::Unreachable(_)), "{error:?}");
    let unknown = egress.send(get("http://nobody.test/".parse().unwrap())).await.unwrap_err();
    assert!(matches!(unknown, EgressError::Unreachable(_)), "{unknown:?}");
}

#[tokio::test]
async fn a_secret_that_fits_no_header_is_not_sent_and_not_shown() {
    let server = Server::start(|_| Body::empty()).await;
    let injection = Some(Injection::Bearer(SecretString::from("line\nbreak-s3cret")));

    let error = reaching(&server)
        .send(Call { injection, ..get(server.url("good.test", "/")) })
        .await
        .unwrap_err();

    assert!(matches!(&error, EgressError::Denied(why) if !why.contains("s3cret")), "{error:?}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn streams_get_a_client_only_for_urls_that_pass() {
    let egress = egress("127.0.0.1:9000", Names::default());

    assert!(egress.client_for(&"https://api.example.com/v1".parse().unwrap()).is_ok());
    assert!(egress.client_for(&"http://127.0.0.1:9000/v1".parse().unwrap()).is_ok());
    let other = "http://127.0.0.1:9001/v1".parse().unwrap();
    assert!(egress.client_for(&other).is_err());
    assert!(egress.also_allowing(&other).unwrap().client_for(&other).is_ok());
}
