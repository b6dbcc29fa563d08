//! From the name of a model to something that answers.

mod bound;
pub(crate) mod setting;

use std::sync::Arc;

use agentcore::{
    Model,
    models::{Embedder, anthropic::Anthropic, gemini::Gemini, openai::OpenAi, sim::Sim},
    split_model_name,
};
use secrecy::{ExposeSecret, SecretString};
use servicekit::egress::Egress;
use shared_models::{ModelApi, RunId, TenantId};
use url::Url;

pub(crate) use bound::{Bound, Lender, Lent, bind, bind_for};

use crate::{
    app::App,
    clients::credsvc::{Grantee, Secret, Wants},
    error::Error,
    snapshot::RunSnapshot,
};

/// The simulated models, as everybody may use them.
pub(crate) const SIMULATED: [(&str, &str); 3] = [
    ("sim:echo", "Repeats the last thing the user said."),
    ("sim:demo", "Calls the first tool once and reports what it said."),
    ("sim:script", "Plays the turns written in its instructions."),
];

/// The simulated models that make vectors of texts.
pub(crate) const SIMULATED_EMBEDDINGS: [(&str, &str); 1] = [(
    "sim:embed",
    "Makes vectors of words by their hashes: texts with words in common are close, whatever they mean.",
)];

/// What the operator said about one provider.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// For agents that bring no key of their own.
    pub key: Option<SecretString>,
    /// Where that key is sent, and nowhere else.
    pub base_url: Url,
    /// Whether that is where everybody finds the provider.
    pub usual: bool,
}

/// What the operator said about models.
#[derive(Clone, Debug)]
pub struct ModelsConfig {
    /// OpenAI, or a server that talks like it.
    pub openai: ProviderConfig,
    /// Anthropic.
    pub anthropic: ProviderConfig,
    /// Google's Gemini.
    pub gemini: ProviderConfig,
}

/// The providers.
pub(crate) struct Models {
    config: ModelsConfig,
    /// For base URLs that tenants bring.
    guarded: Egress,
    /// For the operator's base URLs, which may be private.
    own: Egress,
    sim: Arc<Sim>,
}

impl Models {
    pub(crate) fn new(config: ModelsConfig, egress: Egress) -> Result<Self, reqwest::Error> {
        let mut own = egress.clone();
        for provider in [&config.openai, &config.anthropic, &config.gemini] {
            own = own.also_allowing(&provider.base_url)?;
        }
        Ok(Self { config, guarded: egress, own, sim: Arc::new(Sim::new()) })
    }

    fn provider(&self, api: ModelApi) -> Option<&ProviderConfig> {
        match api {
            ModelApi::OpenAi => Some(&self.config.openai),
            ModelApi::Anthropic => Some(&self.config.anthropic),
            ModelApi::Gemini => Some(&self.config.gemini),
            ModelApi::Sim => None,
        }
    }

    /// Whether its models answer without a credential of one's own: there is a key, or a server that is not the provider's
    /// and may need none. The simulated ones always do.
    pub(crate) fn is_configured(&self, api: ModelApi) -> bool {
        self.provider(api).is_none_or(|provider| provider.key.is_some() || !provider.usual)
    }

    /// Whether a model could be asked: with a credential, at an address of its own, or by the operator's key.
    pub(crate) fn check_reachable(&self, bound: &Bound) -> Result<(), Error> {
        let own = bound.credential.is_some() || bound.base_url.is_some();
        if own || self.is_configured(bound.api) { Ok(()) } else { Err(without_a_key(bound.api)) }
    }

    /// The model behind a name, with a secret if one belongs to it. The operator's key never goes to a URL that a tenant
    /// chose, nor a tenant's key along with the operator's.
    pub(crate) fn open(
        &self,
        bound: &Bound,
        secret: Option<&Secret>,
    ) -> Result<Arc<dyn Model>, Error> {
        let Some(provider) = self.provider(bound.api) else { return Ok(self.sim.clone()) };
        let Door { http, base, key } = self.door(bound, provider, secret)?;
        Ok(match bound.api {
            ModelApi::OpenAi | ModelApi::Sim => Arc::new(OpenAi::new(http, base, key)),
            ModelApi::Anthropic => Arc::new(Anthropic::new(http, base, key)),
            ModelApi::Gemini => Arc::new(Gemini::new(http, base, key)),
        })
    }

    /// The same for models that make vectors of texts.
    pub(crate) fn open_embedder(
        &self,
        bound: &Bound,
        secret: Option<&Secret>,
    ) -> Result<Arc<dyn Embedder>, Error> {
        let Some(provider) = self.provider(bound.api) else { return Ok(self.sim.clone()) };
        let Door { http, base, key } = self.door(bound, provider, secret)?;
        match bound.api {
            ModelApi::OpenAi | ModelApi::Sim => Ok(Arc::new(OpenAi::new(http, base, key))),
            ModelApi::Gemini => Ok(Arc::new(Gemini::new(http, base, key))),
            ModelApi::Anthropic => {
                Err(Error::ModelUnavailable("anthropic has no models that embed".into()))
            }
        }
    }

    fn door(
        &self,
        bound: &Bound,
        provider: &ProviderConfig,
        secret: Option<&Secret>,
    ) -> Result<Door, Error> {
        let key = secret.and_then(|secret| secret.field("api_key"));
        let theirs = secret.and_then(|secret| secret.field("base_url"));
        let theirs = theirs.map(|url| url.expose_secret().to_owned());
        match bound.base_url.clone().or(theirs) {
            Some(url) => {
                let base: Url = url.parse().map_err(|error| {
                    Error::ModelUnavailable(format!("the model's base URL is no URL: {error}"))
                })?;
                Door::to(&self.guarded, base, key)
            }
            None if secret.is_some() && key.is_none() => {
                let why = "the model's credential has neither `api_key` nor `base_url`";
                Err(Error::ModelUnavailable(why.into()))
            }
            None if secret.is_some() => Door::to(&self.own, provider.base_url.clone(), key),
            None if !self.is_configured(bound.api) => Err(without_a_key(bound.api)),
            None => Door::to(&self.own, provider.base_url.clone(), provider.key.clone()),
        }
    }
}

/// The way to a provider.
struct Door {
    http: reqwest::Client,
    base: Url,
    key: Option<SecretString>,
}

impl Door {
    fn to(egress: &Egress, base: Url, key: Option<SecretString>) -> Result<Self, Error> {
        let http = egress.client_for(&base).map_err(|error| {
            Error::ModelUnavailable(format!("the model's base URL is not allowed: {error}"))
        })?;
        Ok(Self { http, base, key })
    }
}

fn without_a_key(api: ModelApi) -> Error {
    let variable = format!("{}_API_KEY", api.as_str().to_uppercase());
    Error::ModelUnavailable(format!(
        "`{api}` models need a key: give the agent a credential with the field `api_key`, let an administrator \
         add the model with one, or set {variable} for the engine"
    ))
}

/// Whether a name could be a model's: of a provider that everybody knows, or one of the tenant's own. Says which there are.
pub(crate) fn check(name: &str, own: &[String]) -> Result<(), String> {
    let (provider, model) = split_model_name(name);
    let spaces = |text: &str| text.chars().any(|c| c.is_whitespace() || c.is_control());
    let ours = || own.iter().any(|known| known == name || *known == format!("{provider}:*"));
    match provider.parse() {
        _ if model.is_empty() || spaces(name) || name.len() > 200 => {
            Err(format!("`{name}` is not `provider:model`"))
        }
        Ok(ModelApi::Sim) if !SIMULATED.iter().any(|(known, _)| *known == name) => {
            Err("`sim` has the models echo, demo and script".into())
        }
        Ok(_) => Ok(()),
        Err(_) if ours() => Ok(()),
        Err(_) => Err(format!(
            "no provider `{provider}`; there are openai, anthropic, gemini and sim, and the models that your \
             administrators add"
        )),
    }
}

/// The model that a run asks.
pub(crate) async fn resolve(
    app: &App,
    tenant: TenantId,
    run: RunId,
    snapshot: &RunSnapshot,
) -> Result<(Arc<dyn Model>, Bound), Error> {
    let known = snapshot.models.iter().find(|bound| bound.name == snapshot.model);
    let bound = if let Some(bound) = known {
        bound.clone()
    } else {
        let mut tx = app.db.begin(tenant).await?;
        bind(&mut tx, &snapshot.model, snapshot.model_credential).await?
    };
    let secret = match &bound.credential {
        None => None,
        Some(lent) => {
            let grantee = match lent.by {
                Lender::Agent => Grantee::Agent(snapshot.agent_id),
                Lender::Model(model) => Grantee::Model(model),
            };
            let owner = lent.owner.unwrap_or(snapshot.owner);
            let wants =
                Wants { tenant, run, agent: snapshot.agent_id, owner, credential: lent.credential };
            let purpose = format!("model:{}", bound.name);
            Some(app.credsvc.resolve_for(grantee, &wants, &purpose, None).await?)
        }
    };
    Ok((app.models.open(&bound, secret.as_ref())?, bound))
}

/// The model of a call that no run makes: only what was lent to the model itself helps to open it.
pub(crate) async fn open_for_tenant(
    app: &App,
    tenant: TenantId,
    bound: &Bound,
) -> Result<Arc<dyn Model>, Error> {
    app.models.open(bound, lent(app, tenant, bound).await?.as_ref())
}

/// The same for models that make vectors of texts.
pub(crate) async fn open_embedder_for_tenant(
    app: &App,
    tenant: TenantId,
    bound: &Bound,
) -> Result<Arc<dyn Embedder>, Error> {
    app.models.open_embedder(bound, lent(app, tenant, bound).await?.as_ref())
}

async fn lent(app: &App, tenant: TenantId, bound: &Bound) -> Result<Option<Secret>, Error> {
    match &bound.credential {
        Some(Lent { credential, by: Lender::Model(model), owner: Some(owner) }) => {
            let purpose = format!("model:{}", bound.name);
            let asked =
                app.credsvc.resolve_for_model(tenant, *model, *owner, *credential, &purpose);
            Ok(Some(asked.await?))
        }
        Some(_) | None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(openai: ProviderConfig) -> Models {
        let usual =
            |url: &str| ProviderConfig { key: None, base_url: url.parse().unwrap(), usual: true };
        let config = ModelsConfig {
            openai,
            anthropic: usual("https://api.anthropic.com/v1"),
            gemini: usual("https://generativelanguage.googleapis.com/v1beta"),
        };
        let egress = Egress::new(servicekit::egress::EgressPolicy::default()).unwrap();
        Models::new(config, egress).unwrap()
    }

    fn plain(base_url: Option<&str>) -> Bound {
        Bound {
            name: "openai:gpt-4o".into(),
            api: ModelApi::OpenAi,
            model: "gpt-4o".into(),
            base_url: base_url.map(str::to_owned),
            credential: None,
            context_window: None,
        }
    }

    #[test]
    fn a_model_is_named_by_provider_and_model() {
        let own = ["ollama:*".to_owned(), "house:fast".to_owned()];
        for name in
            ["gpt-4o", "openai:qwen2.5:7b", "sim:echo", "gemini:x", "ollama:a", "house:fast"]
        {
            assert_eq!(check(name, &own), Ok(()), "{name}");
        }
        for name in ["", "openai:", "sim:", "sim:clever", "martian:x", "openai:a b", "house:slow"] {
            assert!(check(name, &own).is_err(), "{name}");
        }
    }

    #[test]
    fn without_a_key_openai_says_what_is_missing() {
        let base_url = OpenAi::BASE_URL.parse().unwrap();
        let models = models(ProviderConfig { key: None, base_url, usual: true });

        let error = models.open(&plain(None), None).err().unwrap().to_string();

        assert!(error.contains("api_key") && error.contains("OPENAI_API_KEY"), "{error}");
    }

    #[test]
    fn a_tenant_may_not_point_a_model_at_the_inside() {
        let base_url = "http://127.0.0.1:11434/v1".parse().unwrap();
        let models =
            models(ProviderConfig { key: Some("operators-key".into()), base_url, usual: false });
        let secret =
            |fields| serde_json::from_value(serde_json::json!({ "credentials": fields })).unwrap();
        let open = |bound: &Bound, secret: Option<&Secret>| models.open(bound, secret).is_ok();

        assert!(open(&plain(None), None), "the operator may");
        let inside =
            secret(serde_json::json!({ "base_url": "http://127.0.0.1:11434/v1", "api_key": "k" }));
        assert!(!open(&plain(None), Some(&inside)));
        assert!(!open(&plain(Some("http://127.0.0.1:11434/v1")), None));
        let outside = secret(serde_json::json!({ "base_url": "https://llm.example.com/v1" }));
        assert!(open(&plain(None), Some(&outside)));
    }
}
