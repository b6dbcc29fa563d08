//! Keys put under newer keys while everything is served, whether it all opens, and keys destroyed: what
//! `switchyard credentials` does.
//!
//! Each step is one short transaction that compares before it sets. A rotation that is killed leaves every row under one
//! key or the other, both of which open; run again, it goes on where it was.

use std::path::Path;

use dbutil::Db;
use shared_models::TenantId;

use crate::{
    Config, Error,
    audit::{self, Action, Entry},
    keys::Keys,
    roots::open_vault,
    store::{
        self,
        rotation::{DataKey, SealedRow, rewrap_client, rewrap_data_keys},
    },
    vault::{FileRoot, IfMissing, Sealed, TenantKey, Vault, VaultError, Whose},
};

/// Rows of one transaction.
const ROWS: i64 = 200;

/// What a rotation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Keys that are under a newer one now.
    pub rewrapped: u64,
    /// Keys that nothing is under any more, and whose bytes are gone.
    pub retired: u64,
}

/// What does not open, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Whose.
    pub tenant: TenantId,
    /// A credential's id, or an OAuth client's.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

/// What a look at everything found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// How much opened.
    pub opened: u64,
    /// What did not.
    pub broken: Vec<Broken>,
}

/// Makes a new root key's file, of mode 0600. What is there stays.
pub fn make_root_key(path: &Path) -> anyhow::Result<()> {
    if path.try_exists()? {
        anyhow::bail!("{} is there already", path.display());
    }
    // The version is in nothing but what it will wrap.
    FileRoot::load(path, 1, IfMissing::Create)?;
    Ok(())
}

/// The keys of all tenants, as the service holds them.
#[derive(Clone, Debug)]
pub struct Keyring {
    db: Db,
    vault: Vault,
    keys: Keys,
}

impl Keyring {
    /// Opens the vault as the service does, which refuses a wrong root key.
    pub async fn open(config: &Config, db: Db) -> anyhow::Result<Self> {
        let vault = open_vault(config, &db).await?;
        Ok(Self { keys: Keys::new(db.clone(), vault.clone()), vault, db })
    }

    /// Tenants that have keys.
    pub async fn tenants(&self) -> anyhow::Result<Vec<TenantId>> {
        let mut tx = self.db.system("which tenants have keys?").await?;
        Ok(store::rotation::tenants(&mut tx).await?)
    }

    /// Puts every tenant's keys under the newest root key. Older root keys can be taken away afterwards.
    pub async fn rotate_root(&self) -> anyhow::Result<Rotated> {
        let (mut done, mut after) = (Rotated::default(), None);
        let root = self.vault.root_version();
        loop {
            let mut tx = self.db.system("which keys are under older root keys?").await?;
            let found = store::rotation::under_other_roots(&mut tx, root, after, ROWS).await?;
            drop(tx);
            let Some((tenant, last)) = found.last() else { return Ok(done) };
            after = Some((*tenant, last.version));
            for (tenant, stored) in &found {
                let newer = self.vault.rewrap(*tenant, stored).await?;
                let mut tx = self.db.begin(*tenant).await?;
                if store::rotation::rewrap(&mut tx, stored, &newer).await? {
                    let purpose = format!("tenant key {} under root key {root}", stored.version);
                    audit::append(&mut tx, Entry::own(Action::Rotate, &purpose)).await?;
                    tx.commit().await?;
                    done.rewrapped += 1;
                }
            }
        }
    }

    /// Gives a tenant a new key, puts everything under it, and retires the old ones. One that was begun and not finished
    /// is finished; another is not begun then.
    pub async fn rotate_tenant(&self, tenant: TenantId) -> anyhow::Result<Rotated> {
        let active = self.next_key(tenant).await?;
        let mut done = Rotated::default();
        loop {
            let mut tx = self.db.begin(tenant).await?;
            let data = store::rotation::under_older_keys(&mut tx, active.version(), ROWS).await?;
            let clients =
                store::rotation::clients_under_older_keys(&mut tx, active.version()).await?;
            drop(tx);
            let (data, clients) =
                (self.rewrapped(&data, &active).await?, self.rewrapped(&clients, &active).await?);
            let mut tx = self.db.begin(tenant).await?;
            if data.is_empty() && clients.is_empty() {
                let retired = store::rotation::retire_unused(&mut tx).await?;
                for version in &retired {
                    self.vault.forget(tenant, *version);
                    let purpose = format!("tenant key {version} retired");
                    audit::append(&mut tx, Entry::own(Action::Rotate, &purpose)).await?;
                }
                tx.commit().await?;
                done.retired = retired.len() as u64;
                return Ok(done);
            }
            done.rewrapped += rewrap_data_keys(&mut tx, active.version(), &data).await?;
            for (key, newer) in &clients {
                done.rewrapped += rewrap_client(&mut tx, active.version(), key, newer).await?;
            }
            tx.commit().await?;
        }
    }

    /// The key to put everything under: a new one, unless a rotation is under way.
    async fn next_key(&self, tenant: TenantId) -> anyhow::Result<TenantKey> {
        let mut tx = self.db.begin(tenant).await?;
        let active = store::tenant_key::find_active(&mut tx).await?;
        let highest = store::rotation::highest(&mut tx).await?;
        let under_way = store::rotation::is_under_way(&mut tx).await?;
        drop(tx);
        let active = active.ok_or(VaultError::NoTenantKey(highest))?;
        if !under_way {
            // The active key has it from here on at the latest, and nobody gives it another.
            let prints = self.keys.print_key(tenant).await?;
            let made = self.vault.new_tenant_key(tenant, highest + 1, &prints).await?;
            let mut tx = self.db.begin(tenant).await?;
            if store::rotation::activate(&mut tx, active.version, &made).await? {
                let purpose = format!("tenant key {} made", made.0.version);
                audit::append(&mut tx, Entry::own(Action::Rotate, &purpose)).await?;
                tx.commit().await?;
            }
        }
        Ok(self.keys.active(tenant).await?)
    }

    async fn rewrapped(
        &self,
        keys: &[DataKey],
        to: &TenantKey,
    ) -> anyhow::Result<Vec<(DataKey, String)>> {
        let mut done = Vec::with_capacity(keys.len());
        for key in keys {
            let from = self.keys.get(key.whose.tenant, key.tenant_key_version).await?;
            match from.rewrap(&key.whose, &key.wrapped, to) {
                Ok(newer) => done.push((key.clone(), newer)),
                Err(error) => anyhow::bail!(
                    "{} under tenant key {}: {error}; `switchyard credentials verify` lists all that do not open",
                    key.whose.credential,
                    key.tenant_key_version
                ),
            }
        }
        Ok(done)
    }

    /// Opens everything, shows nothing, and lists what does not open: secrets of credentials, deleted ones too, and of
    /// registered clients.
    pub async fn verify(&self) -> anyhow::Result<Verified> {
        let mut found = Verified::default();
        for tenant in self.tenants().await? {
            let mut after = None;
            loop {
                let mut tx = self.db.begin(tenant).await?;
                let page = store::rotation::page(&mut tx, after, ROWS).await?;
                drop(tx);
                let Some(last) = page.last() else { break };
                after = Some(last.whose.credential);
                for SealedRow { whose, sealed } in &page {
                    let what = whose.credential.to_string();
                    self.look(what, whose, sealed, &mut found).await?;
                }
            }
            self.look_at_clients(tenant, &mut found).await?;
        }
        Ok(found)
    }

    /// The platform's are looked at among those of the tenant that registered them.
    async fn look_at_clients(&self, tenant: TenantId, found: &mut Verified) -> anyhow::Result<()> {
        let mut after = None;
        loop {
            let mut tx = self.db.begin(tenant).await?;
            let page = store::provider_config::page(&mut tx, after, ROWS).await?;
            drop(tx);
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            for client in &page {
                let what = client.id.to_string();
                self.look(what, &client.whose(), &client.sealed(), found).await?;
            }
        }
    }

    async fn look(
        &self,
        what: String,
        whose: &Whose,
        sealed: &Sealed,
        found: &mut Verified,
    ) -> anyhow::Result<()> {
        match self.keys.open(whose, sealed).await {
            Ok(_) => found.opened += 1,
            Err(Error::Db(error)) => return Err(error.into()),
            Err(error) => {
                found.broken.push(Broken { tenant: whose.tenant, what, why: error.to_string() });
            }
        }
        Ok(())
    }

    /// Destroys a tenant's keys: what is sealed under them never opens again, here or in a backup of these rows alone.
    /// Says how many.
    pub async fn destroy(&self, tenant: TenantId) -> anyhow::Result<u64> {
        let mut tx = self.db.begin(tenant).await?;
        let destroyed = store::rotation::destroy(&mut tx).await?;
        audit::append(&mut tx, Entry::own(Action::Rotate, "tenant keys destroyed")).await?;
        tx.commit().await?;
        Ok(destroyed)
    }
}
