//! What is known of a provider. The usual ones are in `providers.json`; a registered client may say otherwise.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::FieldError;
use url::Url;

const PROVIDERS: &str = include_str!("providers.json");

/// Parameters of the way to a provider that are not for settings.
const OURS: &[&str] = &["state", "redirect_uri", "client_id", "response_type", "code_challenge"];

/// How a provider does OAuth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ProviderSettings)]
pub(crate) struct Provider {
    /// Where people say yes.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authorize_url: Option<Url>,
    /// Where tokens come from.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_url: Option<Url>,
    /// Where tokens are taken back.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoke_url: Option<Url>,
    /// What the provider calls itself in `iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// More parameters of the way to the provider.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub(crate) authorize_params: BTreeMap<String, String>,
    /// Asked for besides what a session asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) default_scopes: Vec<String>,
    /// Between scopes; a space unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope_separator: Option<String>,
    /// Renewing says the scopes again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope_on_refresh: Option<bool>,
    /// Where the client's id and secret go; `basic` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_auth: Option<ClientAuth>,
    /// Whether PKCE is used; yes unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pkce: Option<bool>,
    /// How tokens are taken back; `form` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoke_by: Option<RevokeBy>,
}

/// How tokens are taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RevokeBy {
    /// The token is posted in a form, as RFC 7009 says.
    #[default]
    Form,
    /// The token is named in a `DELETE`, as GitHub has it: `{client_id}` in the URL stands for the client's id.
    Delete,
}

/// Where a client's id and secret go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuth {
    /// Into `Authorization: Basic`.
    #[default]
    Basic,
    /// Into the form.
    Body,
}

impl Provider {
    /// A provider of this name, as a client's settings change it. None when there is no such provider, or the settings
    /// make no sense.
    pub(crate) fn of(name: &str, settings: &Value) -> anyhow::Result<Self> {
        let known: Map<String, Value> = serde_json::from_str(PROVIDERS)?;
        let mut merged =
            known.get(name).cloned().with_context(|| format!("no provider `{name}`"))?;
        if let (Value::Object(merged), Value::Object(settings)) = (&mut merged, settings) {
            let said = settings.iter().filter(|(_, value)| !value.is_null());
            merged.extend(said.map(|(key, value)| (key.clone(), value.clone())));
        }
        Ok(serde_json::from_value(merged)?)
    }

    /// The names of the providers that are known.
    pub(crate) fn names() -> Vec<String> {
        let known: Map<String, Value> = serde_json::from_str(PROVIDERS).unwrap_or_default();
        known.keys().cloned().collect()
    }

    /// What is missing to connect by it.
    pub(crate) fn check(&self, errors: &mut Vec<FieldError>) {
        for (name, url) in [("authorize_url", &self.authorize_url), ("token_url", &self.token_url)]
        {
            if url.is_none() {
                let pointer = format!("/settings/{name}");
                errors.push(FieldError::new(pointer, "is needed by this provider"));
            }
        }
        let all = [
            ("authorize_url", &self.authorize_url),
            ("token_url", &self.token_url),
            ("revoke_url", &self.revoke_url),
        ];
        for (name, url) in all {
            if url.as_ref().is_some_and(|url| !matches!(url.scheme(), "https" | "http")) {
                errors.push(FieldError::new(format!("/settings/{name}"), "must be http or https"));
            }
        }
        for name in self.authorize_params.keys().filter(|name| OURS.contains(&name.as_str())) {
            let pointer = format!("/settings/authorize_params/{name}");
            errors.push(FieldError::new(pointer, "is set by us"));
        }
    }

    /// Scopes as the provider wants them written.
    pub(crate) fn joined(&self, scopes: &[String]) -> String {
        scopes.join(self.scope_separator.as_deref().unwrap_or(" "))
    }

    /// Whether PKCE is used.
    pub(crate) fn uses_pkce(&self) -> bool {
        self.pkce.unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_known_provider_can_be_read_and_all_but_the_generic_one_are_complete() {
        for name in Provider::names() {
            let mut errors = Vec::new();
            Provider::of(&name, &json!({})).unwrap().check(&mut errors);
            assert_eq!(errors.is_empty(), name != "generic", "{name}: {errors:?}");
        }
        assert!(Provider::of("myspace", &json!({})).is_err());
    }

    #[test]
    fn a_clients_settings_win_and_unknown_ones_are_refused() {
        let said = json!({ "token_url": "https://id.example/token", "issuer": null });

        let google = Provider::of("google", &said).unwrap();

        assert_eq!(google.token_url.unwrap().as_str(), "https://id.example/token");
        assert_eq!(google.issuer.as_deref(), Some("https://accounts.google.com"));
        assert!(Provider::of("google", &json!({ "colour": "red" })).is_err());
    }

    #[test]
    fn github_is_asked_to_take_one_token_back_and_not_the_whole_grant() {
        let github = Provider::of("github", &json!({})).unwrap();

        assert!(github.revoke_url.unwrap().as_str().ends_with("/token"));
        assert_eq!(github.revoke_by, Some(RevokeBy::Delete));
    }

    #[test]
    fn parameters_that_are_ours_cannot_be_set() {
        let mut errors = Vec::new();
        let said = json!({ "authorize_params": { "state": "x", "hd": "example.com" } });

        Provider::of("google", &said).unwrap().check(&mut errors);

        assert_eq!(errors[0].pointer, "/settings/authorize_params/state");
        assert_eq!(errors.len(), 1);
    }
}
