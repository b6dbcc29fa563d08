//! What handlers are given.

use std::time::Duration;

use axum::extract::FromRef;
use dbutil::Db;
use servicekit::{Verifier, egress::Egress};
use url::Url;

use crate::{
    config::Config,
    keys::Keys,
    ledger::{Ledger, LedgerTask},
    oauth::{
        connect,
        renew::Renewer,
        renewals::{Renewals, RenewalsTask},
    },
    roots::open_vault,
    types::Types,
    vault::Vault,
    workers,
};

/// Handles, all cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) ledger: Ledger,
    pub(crate) keys: Keys,
    pub(crate) types: Types,
    pub(crate) renewals: Renewals,
    pub(crate) renewer: Renewer,
    pub(crate) egress: Egress,
    pub(crate) public_url: Url,
    pub(crate) oauth_timeout: Duration,
    pub(crate) lease_seconds: u32,
    pub(crate) shred_days: u32,
    verifier: Verifier,
}

/// What works for the handlers, and has to be run.
#[derive(Debug)]
pub struct Tasks {
    /// Without it nothing is resolved, and nobody is refused.
    pub ledger: LedgerTask,
    /// Without it no access token is renewed.
    pub renewals: RenewalsTask,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}

impl App {
    /// Opens the vault over a migrated database. Refuses root keys that are not those the stored keys are under.
    pub async fn open(
        config: &Config,
        db: Db,
        verifier: Verifier,
    ) -> anyhow::Result<(Self, Tasks)> {
        let vault = open_vault(config, &db).await?;
        let options = db.app_pool().connect_options();
        let (ledger, ledger_task) = Ledger::new(&options, config.audit_queue, vault.clone());
        let keys = Keys::new(db.clone(), vault.clone());
        let egress = Egress::new(config.egress.clone())?;
        let renewer = Renewer {
            db: db.clone(),
            keys: keys.clone(),
            egress: egress.clone(),
            timeout: config.oauth_timeout,
        };
        let (renewals, renewals_task) = Renewals::new(renewer.clone());
        let app = Self {
            db,
            vault,
            ledger,
            keys,
            types: Types::seeded()?,
            renewals,
            renewer,
            egress,
            public_url: config.public_url.clone(),
            oauth_timeout: config.oauth_timeout,
            lease_seconds: config.lease_seconds,
            shred_days: config.shred_days,
            verifier,
        };
        Ok((app, Tasks { ledger: ledger_task, renewals: renewals_task }))
    }

    /// One turn of what a service does by itself every few seconds: tokens that are due are renewed, health follows expiry,
    /// and providers are told of connections whose owners have left.
    pub async fn tend(&self) -> anyhow::Result<()> {
        workers::connections::activate(&self.db, &self.renewals).await?;
        Ok(workers::leavers::activate(&self.db, &self.renewer).await?)
    }

    /// One turn of what is done for keys: those whose time is over are wiped, and root keys on other machines stay within
    /// reach.
    pub async fn tend_keys(&self) {
        self.vault.sweep();
        self.vault.tend().await;
    }

    /// Where OAuth providers send people back to.
    pub(crate) fn callback_url(&self) -> anyhow::Result<Url> {
        Ok(self.public_url.join(connect::CALLBACK)?)
    }
}
