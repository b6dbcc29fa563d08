//! What a model's name stands for at one moment: what a run starts with, and resumes with.
//!
//! A tenant's own entries go first, by name and then for all of the provider. Without one the platform's defaults hold:
//! the simulated models are there for everybody, and a provider's models for agents that bring a credential and where
//! the operator has configured the provider.

use agentcore::split_model_name;
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use shared_models::{CredentialId, ModelApi, ModelId, ModelTask, UserId};

use super::{SIMULATED, SIMULATED_EMBEDDINGS};
use crate::{
    error::Error,
    store::{self, model::ModelSetting},
};

/// A model's name, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// As the agent names it.
    pub(crate) name: String,
    pub(crate) api: ModelApi,
    /// As its provider names it.
    pub(crate) model: String,
    /// Where it is, when not at the provider's usual address.
    #[serde(default)]
    pub(crate) base_url: Option<String>,
    #[serde(default)]
    pub(crate) credential: Option<Lent>,
    #[serde(default)]
    pub(crate) context_window: Option<i32>,
}

/// A credential and by what right it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lent {
    pub(crate) credential: CredentialId,
    pub(crate) by: Lender,
    /// In whose name, when not in the agent's owner's.
    #[serde(default)]
    pub(crate) owner: Option<UserId>,
}

/// To whom the credential was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lender {
    Agent,
    Model(ModelId),
}

impl Bound {
    /// The names under which it may have a price. An entry that only renames a provider's model costs what that does.
    pub(crate) fn prices(&self) -> Vec<String> {
        let mut names = vec![full(&self.name)];
        if self.base_url.is_none() {
            names.push(format!("{}:{}", self.api, self.model));
        }
        names
    }
}

/// A chat model, or why it cannot be used.
pub(crate) async fn bind(
    tx: &mut TenantTx,
    name: &str,
    of_agent: Option<CredentialId>,
) -> Result<Bound, Error> {
    bind_for(tx, ModelTask::Chat, name, of_agent).await
}

/// The same for any task. `of_agent` is the agent's own credential for its model.
pub(crate) async fn bind_for(
    tx: &mut TenantTx,
    task: ModelTask,
    name: &str,
    of_agent: Option<CredentialId>,
) -> Result<Bound, Error> {
    let (provider, _) = split_model_name(name);
    let names = [full(name), format!("{provider}:*")];
    let mut said = store::model::named(tx, &names).await?;
    said.sort_by_key(|setting| setting.fields.name == names[1]);
    match said.into_iter().next() {
        Some(setting) => own(name, task, setting, of_agent),
        None => standard(name, task, of_agent),
    }
}

/// With the provider before the colon.
fn full(name: &str) -> String {
    let (provider, model) = split_model_name(name);
    format!("{provider}:{model}")
}

fn own(
    name: &str,
    task: ModelTask,
    ModelSetting { model_id, owner, fields, .. }: ModelSetting,
    of_agent: Option<CredentialId>,
) -> Result<Bound, Error> {
    if !fields.enabled {
        return Err(Error::ModelUnavailable(format!("the model `{name}` is not enabled here")));
    }
    let all = fields.name.ends_with(":*");
    if fields.task != task && !all {
        let why = format!("the model `{name}` is for {}, not for {task}", fields.task);
        return Err(Error::ModelUnavailable(why));
    }
    let of_model = fields.credential_id.map(|credential| Lent {
        credential,
        by: Lender::Model(model_id),
        owner: Some(owner),
    });
    Ok(Bound {
        name: name.to_owned(),
        api: fields.api(),
        model: fields.provider_model.unwrap_or_else(|| split_model_name(name).1.to_owned()),
        base_url: fields.base_url,
        credential: of_model.or(of_agent.map(of_its_agent)),
        context_window: fields.context_window,
    })
}

fn standard(name: &str, task: ModelTask, of_agent: Option<CredentialId>) -> Result<Bound, Error> {
    let (provider, model) = split_model_name(name);
    let api = provider
        .parse()
        .map_err(|_| Error::ModelUnavailable(format!("the model `{name}` is not enabled here")))?;
    let simulated = match task {
        ModelTask::Chat => SIMULATED.as_slice(),
        ModelTask::Embedding => SIMULATED_EMBEDDINGS.as_slice(),
    };
    if api == ModelApi::Sim && simulated.iter().all(|(known, _)| *known != name) {
        return Err(Error::ModelUnavailable(format!(
            "there is no simulated model `{name}` for {task}"
        )));
    }
    Ok(Bound {
        name: name.to_owned(),
        api,
        model: model.to_owned(),
        base_url: None,
        credential: of_agent.filter(|_| api != ModelApi::Sim).map(of_its_agent),
        context_window: None,
    })
}

fn of_its_agent(credential: CredentialId) -> Lent {
    Lent { credential, by: Lender::Agent, owner: None }
}
