//! What people write down about a model, and what of it is refused.

use serde::{Deserialize, Serialize};
use servicekit::FieldError;
use shared_models::CredentialId;
use url::Url;
use utoipa::ToSchema;

pub(crate) use shared_models::{ModelApi, ModelKind, ModelTask};

use super::{SIMULATED, SIMULATED_EMBEDDINGS};
use crate::definition::unstorable;

/// A model as it can be edited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelFields {
    /// As agents name it: `provider:model`, or `provider:*` for every model that has no entry of its own.
    #[schema(max_length = 200, example = "ollama:qwen3")]
    pub(crate) name: String,
    /// How to talk to it: what the provider's name says, else OpenAI's form, which most servers speak.
    #[serde(default)]
    pub(crate) api: Option<ModelApi>,
    /// What the provider calls it; what follows the colon unless said.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub(crate) provider_model: Option<String>,
    /// Where it is, when not at the provider's usual address.
    #[serde(default)]
    #[schema(max_length = 2048, example = "https://llm.example.com/v1")]
    pub(crate) base_url: Option<String>,
    /// A credential with the field `api_key`. From now on every agent of the tenant may run on it.
    #[serde(default)]
    pub(crate) credential_id: Option<CredentialId>,
    /// Whether agents may run on it.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// Where it runs: with its provider, or in our own house.
    #[serde(default = "hosted")]
    pub(crate) kind: ModelKind,
    #[serde(default = "chat")]
    pub(crate) task: ModelTask,
    /// How many tokens it takes in and gives out at most.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) context_window: Option<i32>,
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub(crate) description: String,
}

impl ModelFields {
    /// How to talk to it.
    pub(crate) fn api(&self) -> ModelApi {
        let provider = self.name.split_once(':').map_or("", |(provider, _)| provider);
        self.api.or_else(|| provider.parse().ok()).unwrap_or(ModelApi::OpenAi)
    }

    /// Lists every field that cannot be so.
    pub(crate) fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = unstorable(&serde_json::to_value(self).unwrap_or_default(), "");
        let mut refuse = |wrong: bool, pointer: &str, message: &str| {
            if wrong {
                errors.push(FieldError::new(pointer, message));
            }
        };
        let (provider, model) = self.name.split_once(':').unwrap_or_default();
        refuse(
            !is_word(&self.name) || provider.is_empty() || model.is_empty() || provider == "agent",
            "/name",
            "`provider:model` or `provider:*`, without spaces, at most 200 bytes",
        );
        let mut simulated = SIMULATED.iter().chain(&SIMULATED_EMBEDDINGS);
        let known = self.name == "sim:*" || simulated.any(|(name, _)| *name == self.name);
        refuse(provider == "sim" && !known, "/name", "there is no such simulated model");
        refuse(
            (self.api() == ModelApi::Sim) != (provider == "sim"),
            "/api",
            "`sim` is for the simulated models, which have no other",
        );
        let wrong = |text: &Option<String>| text.as_deref().is_some_and(|text| !is_word(text));
        refuse(wrong(&self.provider_model), "/provider_model", "1 to 200 bytes without spaces");
        refuse(
            self.provider_model.is_some() && model == "*",
            "/provider_model",
            "not for all models of a provider",
        );
        let url = self.base_url.as_deref().map(str::parse::<Url>);
        let odd = |url: &Url| !matches!(url.scheme(), "http" | "https") || url.query().is_some();
        refuse(
            url.is_some_and(|url| url.as_ref().map_or(true, odd)),
            "/base_url",
            "an http or https URL without a query",
        );
        refuse(self.context_window.is_some_and(|n| n < 1), "/context_window", "at least 1");
        refuse(self.description.len() > 4096, "/description", "at most 4096 bytes");
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn yes() -> bool {
    true
}

fn hosted() -> ModelKind {
    ModelKind::Hosted
}

fn chat() -> ModelTask {
    ModelTask::Chat
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pointers(change: &Value) -> Vec<String> {
        let mut document = json!({ "name": "ollama:qwen3" });
        json_patch::merge(&mut document, change);
        let fields: ModelFields = serde_json::from_value(document).unwrap();
        let errors = fields.check().err().unwrap_or_default();
        errors.into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn the_providers_name_says_how_to_talk_to_it_unless_told_otherwise() {
        let api = |name: &str| {
            serde_json::from_value::<ModelFields>(json!({ "name": name })).unwrap().api()
        };

        assert_eq!(api("anthropic:claude"), ModelApi::Anthropic);
        assert_eq!(api("gemini:*"), ModelApi::Gemini);
        assert_eq!(api("sim:echo"), ModelApi::Sim);
        assert_eq!(api("ollama:qwen3"), ModelApi::OpenAi);
    }

    #[test]
    fn every_wrong_field_is_listed() {
        assert_eq!(pointers(&json!({})), Vec::<String>::new());
        assert_eq!(
            pointers(&json!({ "name": "no colon", "provider_model": "", "base_url": "ftp://x",
                "context_window": 0 })),
            ["/name", "/provider_model", "/base_url", "/context_window"]
        );
        assert_eq!(pointers(&json!({ "name": "sim:clever" })), ["/name"]);
        assert_eq!(pointers(&json!({ "name": "agent:x" })), ["/name"]);
        assert_eq!(pointers(&json!({ "api": "sim" })), ["/api"]);
        assert_eq!(pointers(&json!({ "name": "x:*", "provider_model": "y" })), ["/provider_model"]);
    }
}
