//! The providers this crate brings along: clients of our own, over any `reqwest::Client`.
//!
//! | client | speaks | for |
//! | --- | --- | --- |
//! | [`openai::OpenAi`] | `chat/completions`, `embeddings` | OpenAI, Ollama, vLLM and many more |
//! | [`anthropic::Anthropic`] | `messages` | Anthropic |
//! | [`gemini::Gemini`] | `streamGenerateContent`, `batchEmbedContents` | Google |
//! | [`sim::Sim`] | nothing: it is simulated | demos and tests, without a key or a network |
//!
//! All stream, and keep what they are sent within [`Limits`]. Their errors never show a key.

pub mod anthropic;
mod arguments;
mod embed;
mod endpoint;
mod errors;
mod exchange;
pub mod gemini;
mod http;
mod known;
mod limits;
mod media;
pub mod openai;
mod providers;
pub mod sim;
mod sse;

pub use self::embed::{EmbedRequest, Embedder, Embeddings};
pub use self::http::http_client;
pub use self::known::{Known, KnownModels};
pub use self::limits::Limits;
pub use self::providers::{Providers, ProvidersError, ResolveError};
