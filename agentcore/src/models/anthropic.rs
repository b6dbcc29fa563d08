//! Anthropic's Messages API.
//!
//! What is sent and read follows Anthropic's "Messages", "Streaming Messages", "Extended thinking", "Adaptive thinking"
//! and "Structured outputs". Tokens of thinking are counted as output, because Anthropic does not tell them apart.

mod assemble;
mod claude;
mod content;
mod form;
mod order;
mod request;

use std::fmt;

use futures::stream::BoxStream;
use reqwest::Client;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use url::Url;

use self::assemble::Assembler;
use self::request::{Body, Manners};
use super::endpoint::Endpoint;
use super::exchange::exchange;
use super::limits::Limits;
use crate::model::{Model, ModelError, ModelEvent, ModelRequest};

/// A client of Anthropic, or of a server that speaks its protocol. Cheap to clone.
///
/// - `max_tokens` must be said to this API: without one it is [`Anthropic::DEFAULT_MAX_TOKENS`], and more when the
///   model reasons, as that counts as well.
/// - The scale of temperatures ends at 1, and warmer is sent as 1. None is sent to a model that reasons, nor to models
///   that take none (4.7 and later).
/// - A model that must call a tool does not reason: Anthropic refuses both together.
///
/// ```
/// use agentcore::models::anthropic::Anthropic;
/// use agentcore::models::http_client;
/// use agentcore::{Agent, Model};
///
/// let key = Some("sk-ant-…".into());
/// let anthropic = Anthropic::new(http_client()?, Anthropic::BASE_URL.parse()?, key).cache_prompts();
/// assert_eq!(anthropic.name(), "anthropic");
/// let agent = Agent::builder("a").model("anthropic:claude-sonnet-4-5").provider(std::sync::Arc::new(anthropic));
/// # agent.build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Anthropic {
    endpoint: Endpoint,
    url: Url,
    manners: Manners,
}

impl Anthropic {
    pub const NAME: &'static str = "anthropic";
    /// The `base_url` of Anthropic itself.
    pub const BASE_URL: &'static str = "https://api.anthropic.com/v1";
    pub const DEFAULT_MAX_TOKENS: u32 = 8192;

    /// `base_url` is what comes before `/messages`. Whom `http` may reach is the caller's business; it must not follow
    /// redirects, which would take the key along.
    pub fn new(http: Client, base_url: Url, key: Option<SecretString>) -> Self {
        let header = HeaderName::from_static("x-api-key");
        let endpoint = Endpoint::new(http, base_url, key, Some(header))
            .with_header("anthropic-version", "2023-06-01");
        let url = endpoint.url(&["messages"]);
        Self { endpoint, url, manners: Manners::default() }
    }

    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.endpoint.limits = limits;
        self
    }

    /// Has the instructions and the conversation so far kept for the next call ("Prompt caching"): that costs a quarter
    /// more to write and a tenth to read, and pays when an agent takes several steps.
    #[must_use]
    pub fn cache_prompts(mut self) -> Self {
        self.manners.cache = true;
        self
    }
}

impl Model for Anthropic {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn stream(&self, request: &ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let call =
            Body::of(request, self.manners).and_then(|body| self.endpoint.post(&self.url, &body));
        exchange(call, Assembler::default())
    }
}

impl fmt::Debug for Anthropic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anthropic").field("host", &self.endpoint.host()).finish_non_exhaustive()
    }
}
