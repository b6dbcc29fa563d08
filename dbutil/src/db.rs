//! The two pools of a service.

use std::{str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use shared_models::TenantId;
use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::tx::{SystemTx, TenantTx, tenants_setting};

/// Where a service's database is, by login.
#[derive(Clone, Debug)]
pub struct DbConfig {
    /// `<svc>_app`: sees the rows of the tenants named in `app.tenants`.
    pub app_url: SecretString,
    /// `<svc>_system`: sees all rows; for relays, sweeps and look-ups before the tenant is known.
    pub system_url: SecretString,
    /// Connections of the app pool; the system pool has at most eight.
    pub max_connections: u32,
    /// How long somebody waits for a connection before the database is said to be away.
    pub patience: Duration,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A connection could not be made or broke.
    #[error("database: {0}")]
    Sqlx(#[from] sqlx::Error),
    /// A migration failed.
    #[error("migration of schema `{schema}`: {source}")]
    Migrate {
        /// The schema that was being migrated.
        schema: &'static str,
        /// What Postgres or the migrator said.
        source: sqlx::migrate::MigrateError,
    },
    /// The schema is older than this binary.
    #[error("schema `{schema}` lacks migration {missing}; run `switchyard migrate` first")]
    Behind {
        /// The schema.
        schema: &'static str,
        /// The first migration that was not applied.
        missing: i64,
    },
}

/// A service's database: cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    schema: &'static str,
    app: PgPool,
    system: PgPool,
}

impl DbConfig {
    /// How long a service waits for a connection: whoever asked it is still there then, and told to come back.
    pub const PATIENCE: Duration = Duration::from_secs(5);
}

impl Db {
    /// Opens both pools. Connections have `search_path` set to the service's schema, so that shared code can name
    /// the plumbing tables unqualified; everything else is written qualified.
    pub async fn connect(schema: &'static str, config: &DbConfig) -> Result<Self, DbError> {
        let app = pool(schema, config, &config.app_url, config.max_connections).await?;
        let most = config.max_connections.min(8);
        let system = pool(schema, config, &config.system_url, most).await?;
        Ok(Self { schema, app, system })
    }

    /// The service's schema.
    pub fn schema(&self) -> &'static str {
        self.schema
    }

    /// Starts a transaction that sees one tenant; one round trip.
    pub async fn begin(&self, tenant: TenantId) -> Result<TenantTx, sqlx::Error> {
        // The setting is made of UUIDs only, so there is nothing to escape.
        let begin = format!("begin; set local app.tenants = '{}'", tenants_setting(&[tenant]));
        Ok(TenantTx::new(opened(&self.app, begin).await?, tenant))
    }

    /// Starts a transaction that sees every tenant: the one named door for cross-tenant work.
    pub async fn system(&self, why: &'static str) -> Result<SystemTx, sqlx::Error> {
        tracing::trace!(why, schema = self.schema, "system transaction");
        Ok(SystemTx::new(opened(&self.system, "begin".into()).await?))
    }

    /// The app login's pool, for code that sets its own tenants (a grouped write).
    pub fn app_pool(&self) -> &PgPool {
        &self.app
    }

    /// The system login's pool, for single statements; says nothing about why, so prefer [`Db::system`].
    pub fn system_pool(&self) -> &PgPool {
        &self.system
    }

    /// Asks the database for an answer.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        sqlx::query("select 1").execute(&self.app).await.map(drop)
    }

    /// Refuses a schema that lacks a migration this binary knows; tolerates a newer one, so that old and new binaries
    /// can serve side by side during a roll-out.
    pub async fn check_migrated(&self, migrator: &Migrator) -> Result<(), DbError> {
        crate::migrate::check(&self.system, self.schema, migrator).await
    }

    /// Closes both pools and waits for their connections to end.
    pub async fn close(&self) {
        self.app.close().await;
        self.system.close().await;
    }
}

/// Begins a transaction, also when nobody waits for it any more: a connection that goes back to its pool between `begin` and
/// its answer takes the open transaction along (the pool only rolls back what it has seen begin), and Postgres ends the
/// session under whoever is given it next. Begun to its end, it is rolled back like any other that is dropped.
#[allow(clippy::disallowed_methods, reason = "waited for here, and soon over when it is not")]
async fn opened(
    pool: &PgPool,
    begin: String,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(AssertSqlSafe(begin)).await });
    begun.await.map_err(|_| sqlx::Error::WorkerCrashed)?
}

async fn pool(
    schema: &str,
    config: &DbConfig,
    url: &SecretString,
    most: u32,
) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url.expose_secret())?
        .application_name(schema)
        // A process that is suspended within a transaction keeps its rows locked; whoever takes its work over must get at
        // them. Nothing of ours thinks that long between two statements.
        .options([("search_path", schema), ("idle_in_transaction_session_timeout", "10s")]);
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(config.patience)
        // A ping on each checkout is a round trip on each request; connections are dropped early instead, and a
        // broken one costs one failed request.
        .test_before_acquire(false)
        .idle_timeout(Duration::from_secs(60))
        .connect_with(options)
        .await
}
