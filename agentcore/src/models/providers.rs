//! From the name of a model to a client that can ask it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use reqwest::Client;
use secrecy::SecretString;
use url::Url;

use super::anthropic::Anthropic;
use super::gemini::Gemini;
use super::http::http_client;
use super::openai::OpenAi;
use super::sim::Sim;
use crate::agent::split_model_name;
use crate::model::Model;

/// Providers by name. There is always `sim`.
///
/// ```
/// use agentcore::models::Providers;
///
/// let providers = Providers::default();
/// let (model, name) = providers.resolve("sim:echo")?;
/// assert_eq!((model.name(), name), ("sim", "echo"));
///
/// let error = providers.resolve("martian:large").err().ok_or("it exists?")?;
/// assert_eq!(error.to_string(), "there is no provider `martian`; there are: sim");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Providers {
    by_name: BTreeMap<String, Entry>,
}

#[derive(Clone)]
enum Entry {
    Ready(Arc<dyn Model>),
    /// It is known, but this variable is not set.
    Lacks(&'static str),
}

/// Why nobody answers for a model.
///
/// ```
/// use agentcore::models::{Providers, ResolveError};
///
/// let error = Providers::default().resolve("sim:").err();
/// assert_eq!(error, Some(ResolveError::NoModel("sim:".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("there is no provider `{name}`; there are: {known}")]
    UnknownProvider { name: String, known: String },
    #[error("`{provider}` models need {variable} to be set")]
    NotConfigured { provider: String, variable: &'static str },
    #[error("`{0}` names no model")]
    NoModel(String),
}

/// What is wrong with the environment.
///
/// ```
/// use agentcore::models::{Providers, ProvidersError};
///
/// match Providers::from_env() {
///     Ok(_) => {}
///     Err(ProvidersError::BaseUrl { variable, .. }) => eprintln!("look at {variable}"),
///     Err(error) => eprintln!("{error}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    #[error("{variable} is no URL: {error}")]
    BaseUrl { variable: &'static str, error: url::ParseError },
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

#[derive(Clone, Copy)]
enum Protocol {
    OpenAi,
    Anthropic,
    Gemini,
}

/// A provider that can be set up from the environment.
struct Setup {
    name: &'static str,
    protocol: Protocol,
    /// Any of these has the key.
    keys: &'static [&'static str],
    url: &'static str,
    /// Where it is unless `url` says otherwise.
    otherwise: Option<&'static str>,
    /// Whether it answers nobody without a key, at its usual place.
    needs_key: bool,
}

const fn openai_like(
    name: &'static str,
    keys: &'static [&'static str],
    url: &'static str,
    otherwise: Option<&'static str>,
    needs_key: bool,
) -> Setup {
    Setup { name, protocol: Protocol::OpenAi, keys, url, otherwise, needs_key }
}

const SETUPS: [Setup; 9] = [
    openai_like("openai", &["OPENAI_API_KEY"], "OPENAI_BASE_URL", Some(OpenAi::BASE_URL), true),
    Setup {
        name: "anthropic",
        protocol: Protocol::Anthropic,
        keys: &["ANTHROPIC_API_KEY"],
        url: "ANTHROPIC_BASE_URL",
        otherwise: Some(Anthropic::BASE_URL),
        needs_key: true,
    },
    Setup {
        name: "gemini",
        protocol: Protocol::Gemini,
        keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        url: "GEMINI_BASE_URL",
        otherwise: Some(Gemini::BASE_URL),
        needs_key: true,
    },
    openai_like(
        "ollama",
        &["OLLAMA_API_KEY"],
        "OLLAMA_BASE_URL",
        Some("http://localhost:11434/v1"),
        false,
    ),
    openai_like("vllm", &["VLLM_API_KEY"], "VLLM_BASE_URL", None, false),
    openai_like(
        "openrouter",
        &["OPENROUTER_API_KEY"],
        "OPENROUTER_BASE_URL",
        Some("https://openrouter.ai/api/v1"),
        true,
    ),
    openai_like(
        "deepseek",
        &["DEEPSEEK_API_KEY"],
        "DEEPSEEK_BASE_URL",
        Some("https://api.deepseek.com/v1"),
        true,
    ),
    openai_like(
        "groq",
        &["GROQ_API_KEY"],
        "GROQ_BASE_URL",
        Some("https://api.groq.com/openai/v1"),
        true,
    ),
    openai_like(
        "mistral",
        &["MISTRAL_API_KEY"],
        "MISTRAL_BASE_URL",
        Some("https://api.mistral.ai/v1"),
        true,
    ),
];

impl Providers {
    /// All that the environment has keys for, such as `OPENAI_API_KEY`, `ANTHROPIC_API_KEY` and `GEMINI_API_KEY`, and
    /// those that need none, such as `ollama`. A variable like `OPENAI_BASE_URL` leads elsewhere, where a key may not
    /// be needed.
    #[allow(
        clippy::disallowed_methods,
        reason = "a program's one look, which it asked for by name"
    )]
    pub fn from_env() -> Result<Self, ProvidersError> {
        Self::from_lookup(http_client()?, |name| std::env::var(name).ok())
    }

    /// Like [`Providers::from_env`], with variables and a client of one's own.
    pub fn from_lookup(
        http: Client,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ProvidersError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let mut providers = Self::default();
        for setup in SETUPS {
            let entry = setup.entry(&http, &lookup)?;
            providers.by_name.insert(setup.name.to_owned(), entry);
        }
        Ok(providers)
    }

    /// Adds a provider under this name, or puts it in the place of another.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, provider: Arc<dyn Model>) -> Self {
        self.by_name.insert(name.into(), Entry::Ready(provider));
        self
    }

    /// Who answers for the model `provider:model`, and the model's name there. Without a colon the provider is
    /// `openai`.
    pub fn resolve<'a>(&self, name: &'a str) -> Result<(Arc<dyn Model>, &'a str), ResolveError> {
        let (provider, model) = split_model_name(name);
        if model.trim().is_empty() {
            return Err(ResolveError::NoModel(name.to_owned()));
        }
        match self.by_name.get(provider) {
            Some(Entry::Ready(client)) => Ok((client.clone(), model)),
            Some(Entry::Lacks(variable)) => {
                Err(ResolveError::NotConfigured { provider: provider.to_owned(), variable })
            }
            None => {
                let known = self.names().collect::<Vec<_>>().join(", ");
                Err(ResolveError::UnknownProvider { name: provider.to_owned(), known })
            }
        }
    }

    /// The providers that answer, by name.
    pub fn ready(&self) -> impl Iterator<Item = (&str, &Arc<dyn Model>)> {
        self.by_name.iter().filter_map(|(name, entry)| match entry {
            Entry::Ready(client) => Some((name.as_str(), client)),
            Entry::Lacks(_) => None,
        })
    }

    /// All providers, also those that lack something.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl Default for Providers {
    fn default() -> Self {
        let sim: Arc<dyn Model> = Arc::new(Sim::new());
        Self { by_name: BTreeMap::from([(Sim::NAME.to_owned(), Entry::Ready(sim))]) }
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ready().map(|(name, _)| name)).finish()
    }
}

impl Setup {
    fn entry(
        &self,
        http: &Client,
        lookup: &impl Fn(&str) -> Option<String>,
    ) -> Result<Entry, ProvidersError> {
        let key = self.keys.iter().find_map(|name| lookup(name)).map(SecretString::from);
        let given = lookup(self.url);
        if self.needs_key && key.is_none() && given.is_none() {
            return Ok(Entry::Lacks(self.keys.first().copied().unwrap_or_default()));
        }
        let Some(url) = given.as_deref().or(self.otherwise) else {
            return Ok(Entry::Lacks(self.url));
        };
        let variable = self.url;
        let url: Url = url.parse().map_err(|error| ProvidersError::BaseUrl { variable, error })?;
        let http = http.clone();
        Ok(Entry::Ready(match self.protocol {
            Protocol::OpenAi => Arc::new(OpenAi::new(http, url, key).named(self.name)),
            Protocol::Anthropic => Arc::new(Anthropic::new(http, url, key)),
            Protocol::Gemini => Arc::new(Gemini::new(http, url, key)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn providers(variables: &[(&str, &str)]) -> Result<Providers, ProvidersError> {
        Providers::from_lookup(http_client().unwrap(), |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_model_is_found_by_its_provider() {
        let all = [("OPENAI_API_KEY", "k"), ("GOOGLE_API_KEY", "k"), ("ANTHROPIC_API_KEY", "k")];
        let providers = providers(&all).unwrap();
        let found = |name: &'static str| {
            let (client, model) = providers.resolve(name).unwrap();
            (client.name().to_owned(), model)
        };

        assert_eq!(found("gpt-4o"), ("openai".into(), "gpt-4o"));
        assert_eq!(found("anthropic:claude-opus-4-7"), ("anthropic".into(), "claude-opus-4-7"));
        assert_eq!(found("gemini:gemini-2.5-pro"), ("gemini".into(), "gemini-2.5-pro"));
        assert_eq!(found("ollama:qwen3:8b"), ("ollama".into(), "qwen3:8b"));
        assert_eq!(found("sim:echo"), ("sim".into(), "echo"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let providers = providers(&[("OPENAI_API_KEY", " ")]).unwrap();
        let error = |name: &str| providers.resolve(name).err().unwrap().to_string();

        assert_eq!(error("gpt-4o"), "`openai` models need OPENAI_API_KEY to be set");
        assert_eq!(error("vllm:x"), "`vllm` models need VLLM_BASE_URL to be set");
        assert_eq!(error("openai: "), "`openai: ` names no model");
        assert!(error("martian:x").starts_with("there is no provider `martian`; there are: anth"));
    }

    #[test]
    fn a_server_of_ones_own_needs_no_key_and_a_wrong_url_is_named() {
        let own = providers(&[("OPENAI_BASE_URL", "http://localhost:8000/v1")]).unwrap();
        assert!(own.resolve("openai:mine").is_ok());

        let error = providers(&[("OLLAMA_BASE_URL", "localhost")]).unwrap_err().to_string();
        assert!(error.starts_with("OLLAMA_BASE_URL is no URL"), "{error}");
    }
}
