//! The root keys as they are configured, held against the keys that are stored.

use std::sync::Arc;

use dbutil::Db;
use servicekit::peer;

use crate::{
    config::{Config, RootKeySource, RootKeySpec},
    store,
    vault::{EnvRoot, FileRoot, IfMissing, KmsRoot, Ring, RootKey, TransitRoot, Vault},
};

/// A vault under the configured root keys. Refuses when a stored key is under a root key that is not configured, or is
/// another than it was.
pub(crate) async fn open_vault(config: &Config, db: &Db) -> anyhow::Result<Vault> {
    let mut tx = db.system("are the root keys the right ones?").await?;
    let stored = store::tenant_key::one_of_each_root(&mut tx).await?;
    drop(tx);
    let mut ring: Option<Ring> = None;
    for spec in &config.root_keys {
        // Made only on the very first start. A later one is made by a person, once for all replicas.
        let first = ring.is_none() && stored.is_empty();
        let root = root(spec, if first { IfMissing::Create } else { IfMissing::Refuse })?;
        ring = Some(match ring {
            None => Ring::of(root),
            Some(ring) => ring.with(root),
        });
    }
    let ring = ring.ok_or_else(|| anyhow::anyhow!("no root key is configured"))?;
    let vault = Vault::new(ring, config.key_cache);
    for (tenant, key) in &stored {
        vault.tenant_key(*tenant, key).await.map_err(|error| {
            anyhow::anyhow!("the root key is not the one that the stored keys are under: {error}")
        })?;
    }
    Ok(vault)
}

fn root(spec: &RootKeySpec, if_missing: IfMissing) -> anyhow::Result<Arc<dyn RootKey>> {
    let version = spec.version;
    Ok(match &spec.source {
        RootKeySource::File(path) => Arc::new(FileRoot::load(path, version, if_missing)?),
        RootKeySource::Given(text) => Arc::new(EnvRoot::parse(text, version)?),
        RootKeySource::Vault { config, key } => {
            Arc::new(TransitRoot::new(config.clone(), key.clone(), version, peer::internal_http()?))
        }
        RootKeySource::AwsKms { config, key } => {
            Arc::new(KmsRoot::new(config.clone(), key.clone(), version, peer::internal_http()?))
        }
    })
}
