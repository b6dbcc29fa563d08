//! From the name of a model to something that answers.

use std::sync::Arc;

use agentcore::{
    Model,
    models::{openai::OpenAi, sim::Sim},
    split_model_name,
};
use secrecy::{ExposeSecret, SecretString};
use servicekit::egress::Egress;
use shared_models::{RunId, TenantId};
use url::Url;

use crate::{
    app::App,
    clients::credsvc::{Secret, Wants},
    error::Error,
    snapshot::RunSnapshot,
};

/// The simulated models, as everybody may use them.
pub(crate) const SIMULATED: [(&str, &str); 3] = [
    ("sim:echo", "Repeats the last thing the user said."),
    ("sim:demo", "Calls the first tool once and reports what it said."),
    ("sim:script", "Plays the turns written in its instructions."),
];

/// What the operator said about models.
#[derive(Clone, Debug)]
pub(crate) struct ModelsConfig {
    /// For agents that bring no key of their own.
    pub(crate) openai_key: Option<SecretString>,
    /// Where that key is sent, and nowhere else.
    pub(crate) openai_base_url: Url,
}

/// The providers.
pub(crate) struct Models {
    config: ModelsConfig,
    /// For base URLs that tenants bring.
    guarded: Egress,
    /// For the operator's base URL, which may be private.
    own: Egress,
    sim: Arc<Sim>,
}

impl Models {
    pub(crate) fn new(config: ModelsConfig, egress: Egress) -> Result<Self, reqwest::Error> {
        let own = egress.also_allowing(&config.openai_base_url)?;
        Ok(Self { config, guarded: egress, own, sim: Arc::new(Sim::new()) })
    }

    /// Whether `openai:` models answer without a credential of one's own: there is a key, or a server that is not
    /// OpenAI's and may need none.
    pub(crate) fn openai_is_configured(&self) -> bool {
        self.config.openai_key.is_some() || self.config.openai_base_url.as_str() != OpenAi::BASE_URL
    }

    fn openai(&self) -> Result<Arc<dyn Model>, Error> {
        if !self.openai_is_configured() {
            let why = "`openai` models need a key: give the agent a credential with the field `api_key`, or set \
                       OPENAI_API_KEY for the engine";
            return Err(Error::ModelUnavailable(why.into()));
        }
        let ModelsConfig { openai_key, openai_base_url } = &self.config;
        connect(&self.own, openai_base_url.clone(), openai_key.clone())
    }

    /// The operator's key never goes to a URL that a tenant chose, nor a tenant's key along with the operator's.
    fn openai_with(&self, secret: &Secret) -> Result<Arc<dyn Model>, Error> {
        let key = secret.field("api_key");
        match secret.field("base_url") {
            Some(url) => {
                let url = url.expose_secret().parse().map_err(|error| {
                    Error::ModelUnavailable(format!(
                        "the credential's `base_url` is no URL: {error}"
                    ))
                })?;
                connect(&self.guarded, url, key)
            }
            None if key.is_none() => {
                let why = "the agent's model credential has neither `api_key` nor `base_url`";
                Err(Error::ModelUnavailable(why.into()))
            }
            None => connect(&self.own, self.config.openai_base_url.clone(), key),
        }
    }
}

/// Whether a name could be a model's. Says which providers there are.
pub(crate) fn check(name: &str) -> Result<(), String> {
    let (provider, model) = split_model_name(name);
    let spaces = |text: &str| text.chars().any(|c| c.is_whitespace() || c.is_control());
    match provider {
        _ if model.is_empty() || spaces(name) || name.len() > 200 => {
            Err(format!("`{name}` is not `provider:model`"))
        }
        Sim::NAME if !SIMULATED.iter().any(|(known, _)| *known == name) => {
            Err("`sim` has the models echo, demo and script".into())
        }
        Sim::NAME | OpenAi::NAME => Ok(()),
        other => Err(format!("no provider `{other}`; there are openai and sim")),
    }
}

/// The model that a run asks. Its name at the provider is what follows the colon.
pub(crate) async fn resolve(
    app: &App,
    tenant: TenantId,
    run: RunId,
    snapshot: &RunSnapshot,
) -> Result<Arc<dyn Model>, Error> {
    check(&snapshot.model).map_err(Error::ModelUnavailable)?;
    let (provider, _) = split_model_name(&snapshot.model);
    if provider == Sim::NAME {
        return Ok(app.models.sim.clone());
    }
    let Some(credential) = snapshot.model_credential else { return app.models.openai() };
    let wants = Wants { tenant, run, agent: snapshot.agent_id, owner: snapshot.owner, credential };
    let secret = app.credsvc.resolve(&wants, &format!("model:{}", snapshot.model), None).await?;
    app.models.openai_with(&secret)
}

fn connect(egress: &Egress, base: Url, key: Option<SecretString>) -> Result<Arc<dyn Model>, Error> {
    let http = egress.client_for(&base).map_err(|error| {
        Error::ModelUnavailable(format!("the model's base URL is not allowed: {error}"))
    })?;
    Ok(Arc::new(OpenAi::new(http, base, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_by_provider_and_model() {
        for name in ["gpt-4o", "openai:gpt-4o", "openai:qwen2.5:7b", "sim:echo", "sim:demo"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in ["", "openai:", "sim:", "sim:clever", "martian:x", "openai:a b", "gpt 4"] {
            assert!(check(name).is_err(), "{name}");
        }
    }

    #[test]
    fn without_a_key_openai_says_what_is_missing() {
        let config =
            ModelsConfig { openai_key: None, openai_base_url: OpenAi::BASE_URL.parse().unwrap() };
        let egress = Egress::new(servicekit::egress::EgressPolicy::default()).unwrap();
        let models = Models::new(config, egress).unwrap();

        let error = models.openai().err().unwrap().to_string();

        assert!(error.contains("api_key") && error.contains("OPENAI_API_KEY"), "{error}");
    }

    #[test]
    fn a_tenant_may_not_point_a_model_at_the_inside() {
        let config = ModelsConfig {
            openai_key: Some("operators-key".into()),
            openai_base_url: "http://127.0.0.1:11434/v1".parse().unwrap(),
        };
        let egress = Egress::new(servicekit::egress::EgressPolicy::default()).unwrap();
        let models = Models::new(config, egress).unwrap();
        let secret =
            |fields| serde_json::from_value(serde_json::json!({ "credentials": fields })).unwrap();

        assert!(models.openai().is_ok(), "the operator may");
        let inside =
            secret(serde_json::json!({ "base_url": "http://127.0.0.1:11434/v1", "api_key": "k" }));
        assert!(models.openai_with(&inside).is_err());
        let outside = secret(serde_json::json!({ "base_url": "https://llm.example.com/v1" }));
        assert!(models.openai_with(&outside).is_ok());
    }
}
