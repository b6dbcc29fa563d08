//! The ledger's own connection.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{
    Waiting,
    group::{Failed, Verdict, write},
};
use crate::vault::Vault;

/// Postgres' code for a lock that was not had in time.
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
/// For a connection.
const CONNECT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Line {
    options: PgConnectOptions,
    open: Option<PgConnection>,
}

impl Line {
    pub(super) fn new(options: &PgConnectOptions) -> Self {
        // On fresh tables the planner would join the arrays by scanning. Who holds the end of a chain holds it for a
        // commit; somebody who is suspended there must not stop everybody else's audit.
        let options = options.clone().application_name("credsvc-ledger").options([
            ("enable_seqscan", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("lock_timeout", "1s"),
        ]);
        Self { options, open: None }
    }

    /// Writes a part of a group down; once more on a new connection when the old one broke before the commit was asked
    /// for. After that it may have happened: the caller is told that it failed, and is not given the secret, and the
    /// audit at most tells of an attempt that got nothing.
    pub(super) async fn write(
        &mut self,
        part: &[Waiting],
        vault: &Vault,
    ) -> Result<Vec<Verdict>, sqlx::Error> {
        let mut again = true;
        loop {
            let error = match self.try_write(part, vault).await {
                Ok(verdicts) => return Ok(verdicts),
                Err(Failed::Committing(error)) => {
                    self.open = None;
                    return Err(error);
                }
                Err(Failed::Before(error)) => error,
            };
            let code = code(&error);
            let refused = matches!(error, sqlx::Error::Database(_) | sqlx::Error::Encode(_));
            // A deadlock has a victim; serialization failures are its kin. Everything else that Postgres says of the
            // moment is about the connection.
            let passing = code.starts_with("40");
            if !refused || dbutil::is_down(&error) {
                self.open = None;
            } else if !passing {
                return Err(error);
            }
            if !std::mem::take(&mut again) {
                return Err(error);
            }
        }
    }

    async fn try_write(&mut self, part: &[Waiting], vault: &Vault) -> Result<Vec<Verdict>, Failed> {
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => tokio::time::timeout(CONNECT, PgConnection::connect_with(&self.options))
                .await
                .unwrap_or(Err(sqlx::Error::PoolTimedOut))
                .map_err(Failed::Before)?,
        };
        let written = write(&mut connection, part, vault).await;
        // Only now: a connection on which this future was dropped half-way is not used again.
        self.open = Some(connection);
        written
    }
}

pub(super) fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code().map(Into::into)).unwrap_or_default()
}
