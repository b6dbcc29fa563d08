//! `switchyard credentials`: keys rotated while everything is served, secrets verified, keys destroyed.

use std::io::Write as _;

use anyhow::bail;
use credsvc::rotation::{Keyring, Rotated, make_root_key};
use dbutil::Db;
use shared_models::{Service, TenantId};

use crate::{config::Invalid, operator};

/// What can be done with keys and what is sealed under them.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Put keys under newer ones. Can be killed and run again at any time, and everything stays readable.
    ///
    /// For a new root key: make it, let every credsvc know it beside the old (`SWITCHYARD_ROOT_KEYS=2=file:new,1=file:old`),
    /// run this with `--root`, take the old one away.
    Rotate {
        /// Put every tenant's keys under the newest root key.
        #[arg(long, conflicts_with_all = ["tenant", "all_tenants"])]
        root: bool,
        /// Give this tenant a new key, and put its secrets under that.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// Give every tenant a new key.
        #[arg(long, conflicts_with = "tenant")]
        all_tenants: bool,
    },
    /// Make a file with a new root key, for all replicas.
    NewRootKey {
        /// Where.
        path: std::path::PathBuf,
    },
    /// Open every secret, show none, and list those that do not open.
    Verify,
    /// Destroy a tenant's keys: none of its secrets ever opens again.
    DestroyKeys {
        /// Whose.
        #[arg(long)]
        tenant: TenantId,
        /// The tenant's id once more.
        #[arg(long)]
        yes_destroy: TenantId,
    },
}

/// Does it, and prints what was done.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    if let Command::NewRootKey { path } = &command {
        make_root_key(path)?;
        return say(&format!("{} made; back it up", path.display()));
    }
    let mut env = operator::env()?;
    let config = credsvc::Config::read(&mut env);
    env.finish().map_err(Invalid)?;
    let db = Db::connect(Service::Credsvc.name(), &config.service.db).await?;
    db.check_migrated(&credsvc::MIGRATOR).await?;
    let keyring = Keyring::open(&config, db).await?;
    match command {
        Command::Rotate { root: true, .. } => {
            let Rotated { rewrapped, .. } = keyring.rotate_root().await?;
            say(&format!("{rewrapped} tenant keys are under the newest root key now"))
        }
        Command::Rotate { tenant: Some(tenant), .. } => rotate(&keyring, &[tenant]).await,
        Command::Rotate { all_tenants: true, .. } => {
            rotate(&keyring, &keyring.tenants().await?).await
        }
        Command::NewRootKey { .. } => Ok(()),
        Command::Rotate { .. } => bail!("say what: --root, --tenant <id> or --all-tenants"),
        Command::Verify => verify(&keyring).await,
        Command::DestroyKeys { tenant, yes_destroy } if tenant == yes_destroy => {
            let keys = keyring.destroy(tenant).await?;
            say(&format!("{tenant} {keys} keys destroyed"))
        }
        Command::DestroyKeys { .. } => bail!("--yes-destroy names another tenant"),
    }
}

async fn rotate(keyring: &Keyring, tenants: &[TenantId]) -> anyhow::Result<()> {
    for tenant in tenants {
        let Rotated { rewrapped, retired } = keyring.rotate_tenant(*tenant).await?;
        say(&format!(
            "{tenant} {rewrapped} secrets under the new key, {retired} old keys retired"
        ))?;
    }
    Ok(())
}

async fn verify(keyring: &Keyring) -> anyhow::Result<()> {
    let found = keyring.verify().await?;
    for broken in &found.broken {
        say(&format!("{} {} DOES NOT OPEN: {}", broken.tenant, broken.what, broken.why))?;
    }
    say(&format!("{} secrets open", found.opened))?;
    match found.broken.len() {
        0 => Ok(()),
        broken => bail!("{broken} secrets do not open"),
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}
