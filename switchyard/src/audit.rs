//! `switchyard audit verify`: whether what was written about credentials is still what was written.

use std::io::Write as _;

use anyhow::bail;
use credsvc::audit::{Verdict, verify_all};
use dbutil::Db;
use servicekit::ServiceConfig;
use shared_models::Service;

use crate::{config::Invalid, operator};

/// What can be done with the audit.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Say of each tenant whether its chain is as it was written.
    Verify,
}

/// Prints what was found, a line for each tenant; a chain that somebody changed is a failure.
pub(crate) async fn verify() -> anyhow::Result<()> {
    let mut env = operator::env()?;
    let config = ServiceConfig::read(&mut env, Service::Credsvc);
    env.finish().map_err(Invalid)?;
    let db = Db::connect(Service::Credsvc.name(), &config.db).await?;
    let found = verify_all(&db).await?;
    let mut out = std::io::stdout().lock();
    let mut broken = 0;
    for (tenant, verdict) in &found {
        match verdict {
            Verdict::Intact { rows } => writeln!(out, "{tenant} intact, {rows} rows")?,
            Verdict::Broken { seq, why } => {
                broken += 1;
                writeln!(out, "{tenant} BROKEN at row {seq}: {why}")?;
            }
        }
    }
    if broken > 0 {
        bail!("{broken} of {} chains were changed", found.len());
    }
    Ok(())
}
