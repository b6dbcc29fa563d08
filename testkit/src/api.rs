//! Calling a service: through its router in memory, or over a socket.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use servicekit::token::{LIFETIME, unix_now};
use shared_models::Service;
use tower::ServiceExt as _;

use crate::Person;

#[derive(Clone, Debug)]
enum Target {
    Router(Router),
    Url(String, reqwest::Client),
}

/// A client that sends the same headers with each request.
#[derive(Clone, Debug)]
pub struct Api {
    target: Target,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    acting: Option<Arc<Acting>>,
}

/// Who calls, with a token that is made anew before it ends: a test may take longer than a token lives.
#[derive(Debug)]
struct Acting {
    person: Person,
    at: Service,
    token: Mutex<(i64, String)>,
}

impl Acting {
    fn header(&self) -> HeaderValue {
        let (now, mut token) = (unix_now(), self.token.lock().expect("no test failed meanwhile"));
        if now - token.0 > LIFETIME / 2 {
            *token = (now, format!("Bearer {}", self.person.token(self.at)));
        }
        HeaderValue::from_str(&token.1).expect("a header value")
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; null when it is not JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Reply {
    /// The problem's code; empty when the answer is no problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Status and code at once, for comparing.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.code())
    }

    /// The body, after checking the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Api {
    /// Calls a router in memory.
    pub fn router(router: Router) -> Self {
        Self { target: Target::Router(router), headers: HeaderMap::new(), peer: None, acting: None }
    }

    /// Calls a server.
    pub fn at(base: impl Into<String>) -> Self {
        let http = servicekit::peer::internal_http().expect("an HTTP client");
        Self {
            target: Target::Url(base.into().trim_end_matches('/').to_owned(), http),
            headers: HeaderMap::new(),
            peer: None,
            acting: None,
        }
    }

    /// The same, as somebody who calls this service.
    #[must_use]
    pub fn acting(&self, person: &Person, at: Service) -> Self {
        let token = Mutex::new((i64::MIN / 2, String::new()));
        Self {
            acting: Some(Arc::new(Acting { person: person.clone(), at, token })),
            ..self.clone()
        }
    }

    /// The same, as if the connection to a router in memory came from this address.
    #[must_use]
    pub fn from_peer(&self, address: &str) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        Self { peer: Some((address, 40_000).into()), ..self.clone() }
    }

    /// The same with a bearer token.
    #[must_use]
    pub fn token(&self, token: &str) -> Self {
        let other = Self { acting: None, ..self.clone() };
        other.header("authorization", &format!("Bearer {token}"))
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(&self, name: &str, value: &str) -> Self {
        let mut api = self.clone();
        let name = HeaderName::try_from(name).expect("a header name");
        api.headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
        api
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// PATCH with a merge patch.
    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None).await
    }

    /// Any method, with a JSON body or none.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let api = if body.is_some() {
            self.header("content-type", "application/json")
        } else {
            self.clone()
        };
        api.raw(method, path, body.map(Value::to_string).unwrap_or_default().into_bytes()).await
    }

    /// Any method and any bytes, with just the headers set so far.
    pub async fn raw(&self, method: Method, path: &str, body: Vec<u8>) -> Reply {
        let mut headers = self.headers.clone();
        if let Some(acting) = &self.acting {
            headers.entry(header::AUTHORIZATION).or_insert_with(|| acting.header());
        }
        match &self.target {
            Target::Router(router) => {
                let mut request = Request::builder()
                    .method(method)
                    .uri(path)
                    .body(Body::from(body))
                    .expect("a request");
                *request.headers_mut() = headers;
                if let Some(peer) = self.peer {
                    request.extensions_mut().insert(ConnectInfo(peer));
                }
                request
                    .headers_mut()
                    .entry(header::HOST)
                    .or_insert(HeaderValue::from_static("test.local"));
                let response = router.clone().oneshot(request).await.expect("routers do not fail");
                let (parts, body) = response.into_parts();
                let bytes = body.collect().await.expect("the whole answer").to_bytes();
                reply(parts.status, parts.headers, &bytes)
            }
            Target::Url(base, http) => {
                let request =
                    http.request(method, format!("{base}{path}")).headers(headers).body(body);
                let response = request.send().await.expect("the server answers");
                let (status, headers) = (response.status(), response.headers().clone());
                let bytes = response.bytes().await.expect("the whole answer");
                reply(status, headers, &bytes)
            }
        }
    }
}

fn reply(status: StatusCode, headers: HeaderMap, bytes: &[u8]) -> Reply {
    Reply {
        status: status.as_u16(),
        headers,
        body: serde_json::from_slice(bytes).unwrap_or_default(),
        text: String::from_utf8_lossy(bytes).into_owned(),
    }
}
