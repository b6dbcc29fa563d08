//! Where a provider answers, and how it knows us.

use std::fmt;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::Url;

use super::errors::unwritable;
use super::exchange::Call;
use super::limits::Limits;
use crate::model::{ModelError, ModelErrorKind};

#[derive(Clone)]
pub(super) struct Endpoint {
    http: Client,
    base: Url,
    headers: HeaderMap,
    key: Option<SecretString>,
    pub(super) limits: Limits,
    /// The key cannot be sent at all.
    unfit_key: bool,
}

impl Endpoint {
    /// A key without a header to go into is sent as a bearer token.
    pub(super) fn new(
        http: Client,
        base: Url,
        key: Option<SecretString>,
        header: Option<HeaderName>,
    ) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        let value = key.as_ref().map(|key| match &header {
            Some(_) => HeaderValue::from_str(key.expose_secret()),
            None => HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())),
        });
        let unfit_key = matches!(value, Some(Err(_)));
        if let Some(Ok(mut value)) = value {
            value.set_sensitive(true);
            headers.insert(header.unwrap_or(AUTHORIZATION), value);
        }
        Self { http, base, headers, key, limits: Limits::default(), unfit_key }
    }

    pub(super) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub(super) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// The base URL with more at its end. Nothing in a segment can lead out of it.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // A URL without a path cannot be called either; the call says so.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    pub(super) fn post(&self, url: &Url, body: &impl Serialize) -> Result<Call, ModelError> {
        if self.unfit_key {
            let why = "it has characters that no header may have";
            return Err(ModelError::new(ModelErrorKind::Auth, why));
        }
        let body = serde_json::to_vec(body).map_err(unwritable)?;
        let mut request = Request::new(Method::POST, url.clone());
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = Some(body.into());
        Ok(Call { http: self.http.clone(), request, limits: self.limits, key: self.key.clone() })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("host", &self.host()).finish_non_exhaustive()
    }
}
