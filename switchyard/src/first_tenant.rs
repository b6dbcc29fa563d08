//! The first tenant and its API key, which stays in a file only its owner can read.

use std::path::Path;

use anyhow::Context as _;
use dbutil::Db;
use gateway::bootstrap::{self, BootstrapRequest};
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
    /// Makes the tenant when there is none, and keeps its key in `home`. A key is only told once: when the one that was
    /// kept is lost or good no more, another is made.
    pub(crate) async fn ensure(
        home: &Path,
        places: &Places,
        secrets: &Secrets,
        request: BootstrapRequest,
    ) -> anyhow::Result<Self> {
        let db = migrate::gateway_db(places, secrets).await?;
        let tenant = Self::in_database(&db, home, request).await;
        db.close().await;
        tenant
    }

    async fn in_database(db: &Db, home: &Path, request: BootstrapRequest) -> anyhow::Result<Self> {
        let mut made = bootstrap::bootstrap(db, request).await?;
        let kept = made.api_key.take().or_else(|| kept_key(home).ok());
        let api_key = bootstrap::working_key(db, &made, kept).await?;
        secrets::write_private(&home.join(KEY_FILE), api_key.expose_secret())?;
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
