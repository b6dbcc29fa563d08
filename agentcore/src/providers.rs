//! Who answers for a model when neither the agent nor the run brings a provider along.
//!
//! Unless told otherwise these are the providers that the environment has keys for, such as `OPENAI_API_KEY`: see
//! [`Providers::from_env`]. A program that knows better says so once, where it begins:
//!
//! ```
//! use agentcore::models::Providers;
//!
//! agentcore::providers::install(Providers::default());
//! ```

use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::agent::split_model_name;
use crate::model::Model;
use crate::models::Providers;
use crate::models::sim::Sim;

static INSTALLED: RwLock<Option<Providers>> = RwLock::new(None);
static FROM_ENV: LazyLock<Result<Providers, String>> =
    LazyLock::new(|| Providers::from_env().map_err(|error| error.to_string()));
/// Apart, so that whoever only simulates needs no HTTP client.
static SIMULATED: LazyLock<Providers> = LazyLock::new(Providers::default);

/// From now on these answer, in this whole process, and the environment is not asked.
///
/// ```
/// use agentcore::models::Providers;
///
/// agentcore::providers::install(Providers::default());
/// let agent = agentcore::Agent::builder("a").model("openai:gpt-4o").build()?;
/// let error = agentcore::run_blocking(&agent, "Hi").err().ok_or("somebody answered")?;
/// assert!(error.to_string().contains("there is no provider `openai`"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn install(providers: Providers) {
    *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(providers);
}

/// Who answers for a model, and the model's name there; or why nobody does.
pub(crate) fn resolve(name: &str) -> Result<(Arc<dyn Model>, String), String> {
    let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner);
    let providers = match &*installed {
        Some(providers) => providers,
        None if split_model_name(name).0 == Sim::NAME => &SIMULATED,
        None => FROM_ENV.as_ref().map_err(Clone::clone)?,
    };
    match providers.resolve(name) {
        Ok((provider, model)) => Ok((provider, model.to_owned())),
        Err(error) => Err(error.to_string()),
    }
}
