//! Any service that speaks OpenAI's `chat/completions`: OpenAI itself, Ollama, vLLM and many more.
//!
//! Asks for a stream and also takes a plain JSON reply. The key is sent as a bearer token and shown nowhere else: it
//! is cut out of error messages too, for servers that echo what they were sent.

mod assemble;
mod embed;
mod request;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use futures::stream::BoxStream;
use reqwest::Client;
use secrecy::SecretString;
use url::Url;

use self::assemble::Assembler;
use self::request::{Body, Manners};
use super::endpoint::Endpoint;
use super::exchange::exchange;
use super::limits::Limits;
use crate::model::{Model, ModelError, ModelEvent, ModelRequest};

/// A client of one base URL. Cheap to clone.
///
/// ```no_run
/// # use agentcore::models::{http_client, openai::OpenAi};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let local = OpenAi::new(http_client()?, "http://localhost:11434/v1".parse()?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct OpenAi {
    endpoint: Endpoint,
    url: Url,
    manners: Manners,
    name: Cow<'static, str>,
}

impl OpenAi {
    pub const NAME: &'static str = "openai";
    /// The `base_url` of OpenAI itself.
    pub const BASE_URL: &'static str = "https://api.openai.com/v1";

    /// `base_url` is what comes before `/chat/completions`. Whom `http` may reach is the caller's business; it should
    /// not follow redirects, as [`http_client`](super::http_client) does not.
    pub fn new(http: Client, base_url: Url, key: Option<SecretString>) -> Self {
        let endpoint = Endpoint::new(http, base_url, key, None);
        let url = endpoint.url(&["chat", "completions"]);
        // OpenAI's newer models refuse `max_tokens`, most compatible servers ignore its new name.
        let manners =
            Manners { is_openai: endpoint.host() == "api.openai.com", replay_reasoning: false };
        Self { endpoint, url, manners, name: Self::NAME.into() }
    }

    /// Under which name it stands before the colon, for a server that is not OpenAI's.
    #[must_use]
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.endpoint.limits = limits;
        self
    }

    /// How long the server may be silent, at the start and between two pieces; two minutes unless told otherwise.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.endpoint.limits.first_byte = patience;
        self.endpoint.limits.idle = patience;
        self
    }

    /// Sends the model's reasoning back while it works on one answer, as `reasoning_content`. DeepSeek ("Thinking
    /// Mode") and Kimi want that between tool calls; others may refuse it, so it is off unless asked for.
    #[must_use]
    pub fn replay_reasoning(mut self) -> Self {
        self.manners.replay_reasoning = true;
        self
    }
}

impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    fn stream(&self, request: &ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let call =
            Body::of(request, self.manners).and_then(|body| self.endpoint.post(&self.url, &body));
        exchange(call, Assembler::default())
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("host", &self.endpoint.host()).finish_non_exhaustive()
    }
}
