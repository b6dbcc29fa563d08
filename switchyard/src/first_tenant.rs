//! The first tenant and its API key, which stays in a file only its owner can read.

use std::path::Path;

use anyhow::Context as _;
use gateway::bootstrap::BootstrapRequest;
use secrecy::{ExposeSecret as _, SecretString};
use shared_models::TenantId;

use crate::{
    migrate::{self, Places},
    secrets::{self, Secrets},
};

const KEY_FILE: &str = "api-key";

/// Who the printed commands act as.
pub(crate) struct FirstTenant {
    pub(crate) id: TenantId,
    pub(crate) api_key: SecretString,
}

impl FirstTenant {
    /// Makes the tenant when there is none, and keeps its key in `home`; a key is only told once.
    pub(crate) async fn ensure(
        home: &Path,
        places: &Places,
        secrets: &Secrets,
        request: BootstrapRequest,
    ) -> anyhow::Result<Self> {
        let made = migrate::first_tenant(places, secrets, request).await?;
        if let Some(key) = &made.api_key {
            secrets::write_private(&home.join(KEY_FILE), key.expose_secret())?;
        }
        let api_key = kept_key(home).context("the tenant was made before, by another home")?;
        Ok(Self { id: made.tenant_id, api_key })
    }
}

/// The key that `ensure` kept.
pub(crate) fn kept_key(home: &Path) -> anyhow::Result<SecretString> {
    let path = home.join(KEY_FILE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("the first API key is not in {}", path.display()))?;
    Ok(text.trim().to_owned().into())
}
