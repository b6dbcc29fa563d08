//! Forward-only migrations: the plumbing every schema has, then the service's own, each with its own history table
//! inside the schema, so that a service can move to a database of its own.

use std::{borrow::Cow, collections::HashSet, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool, migrate::Migrator, postgres::PgConnectOptions};

use crate::DbError;

static PLUMBING: Migrator = sqlx::migrate!("../migrations/plumbing");

/// The migrations every schema starts with.
pub fn plumbing() -> &'static Migrator {
    &PLUMBING
}

/// Brings a service's schema up to this binary. Connects as the owner; safe to run from several places at once.
pub async fn migrate(
    owner_url: &SecretString,
    schema: &'static str,
    own: &Migrator,
) -> Result<(), DbError> {
    let mut connection = PgConnectOptions::from_str(owner_url.expose_secret())?
        .options([("search_path", schema)])
        .connect()
        .await?;
    for (migrator, history) in [(&PLUMBING, "_plumbing_migrations"), (own, "_migrations")] {
        named(migrator, history)
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|source| DbError::Migrate { schema, source })?;
    }
    Ok(())
}

pub(crate) async fn check(
    pool: &PgPool,
    schema: &'static str,
    own: &Migrator,
) -> Result<(), DbError> {
    for (migrator, history) in [(&PLUMBING, "_plumbing_migrations"), (own, "_migrations")] {
        let applied = applied(pool, schema, history).await?;
        let missing = migrator.iter().find(|migration| !applied.contains(&migration.version));
        if let Some(migration) = missing {
            return Err(DbError::Behind { schema, missing: migration.version });
        }
    }
    Ok(())
}

async fn applied(pool: &PgPool, schema: &str, history: &str) -> Result<HashSet<i64>, DbError> {
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(format!("{schema}.{history}"))
        .fetch_one(pool)
        .await?;
    if !exists {
        return Ok(HashSet::new());
    }
    // Both names are constants of this crate and its callers.
    let versions = format!("select version from {schema}.{history} where success");
    Ok(sqlx::query_scalar(AssertSqlSafe(versions)).fetch_all(pool).await?.into_iter().collect())
}

fn named(migrator: &Migrator, history: &'static str) -> Migrator {
    Migrator {
        migrations: Cow::Owned(migrator.migrations.to_vec()),
        table_name: Cow::Borrowed(history),
        // A newer binary may have migrated further; its rows are none of ours.
        ignore_missing: true,
        ..Migrator::DEFAULT
    }
}
