//! Google's Gemini API.
//!
//! What is sent and read follows the Gemini API's "Generating content", "Function calling", "Thinking", "Thought
//! signatures" and "Structured output".

mod assemble;
mod content;
mod embed;
mod names;
mod request;
mod schema;
mod signatures;

use std::fmt;

use futures::stream::BoxStream;
use reqwest::Client;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use url::Url;

use self::assemble::Assembler;
use self::request::Body;
use super::endpoint::Endpoint;
use super::exchange::exchange;
use super::limits::Limits;
use crate::model::{Model, ModelError, ModelEvent, ModelRequest};

/// A client of the Gemini API. Cheap to clone.
///
/// - Models before 3 cannot be held to a schema while there are tools; they are asked in words then.
/// - Schemas of tools lose what Google's dialect does not have; arguments are checked against the whole schema when
///   they come.
///
/// ```
/// use agentcore::Model;
/// use agentcore::models::gemini::Gemini;
/// use agentcore::models::http_client;
///
/// let gemini = Gemini::new(http_client()?, Gemini::BASE_URL.parse()?, Some("AIza…".into()));
/// assert_eq!(gemini.name(), "gemini");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Gemini {
    endpoint: Endpoint,
}

impl Gemini {
    pub const NAME: &'static str = "gemini";
    /// The `base_url` of Google itself.
    pub const BASE_URL: &'static str = "https://generativelanguage.googleapis.com/v1beta";

    /// `base_url` is what comes before `/models/..`. Whom `http` may reach is the caller's business; it must not follow
    /// redirects, which would take the key along.
    pub fn new(http: Client, base_url: Url, key: Option<SecretString>) -> Self {
        let header = HeaderName::from_static("x-goog-api-key");
        Self { endpoint: Endpoint::new(http, base_url, key, Some(header)) }
    }

    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.endpoint.limits = limits;
        self
    }

    /// `models/gemini-..:method`; a name with a slash says itself what it is, as in `tunedModels/mine`.
    fn url(&self, model: &str, method: &str) -> Url {
        let (kind, name) = match model.split_once('/') {
            Some(("tunedModels", name)) => ("tunedModels", name),
            Some(("models", name)) => ("models", name),
            _ => ("models", model),
        };
        self.endpoint.url(&[kind, &format!("{name}:{method}")])
    }
}

impl Model for Gemini {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn stream(&self, request: &ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let mut url = self.url(&request.model, "streamGenerateContent");
        url.set_query(Some("alt=sse"));
        let call = Body::of(request).and_then(|body| self.endpoint.post(&url, &body));
        exchange(call, Assembler::new(names::given(&request.tools)))
    }
}

impl fmt::Debug for Gemini {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gemini").field("host", &self.endpoint.host()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_model_leads_out_of_the_base_url() {
        let base = "https://g.example/v1beta".parse().unwrap();
        let gemini = Gemini::new(super::super::http_client().unwrap(), base, None);
        let path = |model: &str| gemini.url(model, "x").path().to_owned();

        assert_eq!(path("gemini-2.5-pro"), "/v1beta/models/gemini-2.5-pro:x");
        assert_eq!(path("tunedModels/mine"), "/v1beta/tunedModels/mine:x");
        for odd in ["../../secret", "a/../../b", "a?key=1", "models/..", "a#b"] {
            assert!(path(odd).starts_with("/v1beta/models/"), "{odd}: {}", path(odd));
            assert!(path(odd).ends_with(":x"), "{odd}: {}", path(odd));
        }
    }
}
