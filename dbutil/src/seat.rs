//! A connection that one writer keeps for itself.
//!
//! What it may see is set once and not with each statement, so that a grouped write is one round trip: a statement is a
//! transaction of its own here. Whoever waits for an answer says how long, with [`within`]. Only for tasks whose every statement says which tenant each row belongs to.

use std::collections::BTreeSet;
use std::{str::FromStr as _, time::Duration};

use secrecy::ExposeSecret as _;
use shared_models::TenantId;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::{DbConfig, tenants_setting, within};

/// Tenants that stay visible once they were; more and it begins anew.
const MOST: usize = 64;

/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(5);

/// Connects when it is first used, and again after [`Seat::give_up`].
#[derive(Debug)]
pub struct Seat {
    options: PgConnectOptions,
    open: Option<(PgConnection, BTreeSet<TenantId>)>,
}

impl Seat {
    /// A seat of the app login. The planner is told to use indexes: on tables that grow fast its statistics are always
    /// late, and left to itself it joins a group's arrays by scanning the table.
    pub fn new(schema: &'static str, name: &str, config: &DbConfig) -> Result<Self, sqlx::Error> {
        let options = PgConnectOptions::from_str(config.app_url.expose_secret())?
            .application_name(name)
            .options([
                ("search_path", schema),
                ("enable_seqscan", "off"),
                ("jit", "off"),
                ("plan_cache_mode", "force_generic_plan"),
                ("idle_in_transaction_session_timeout", "2s"),
            ]);
        Ok(Self { options, open: None })
    }

    /// For statements that join lists which travel along: the planner, which cannot know how long they are, would take
    /// each for ten rows and join two of them by a nested loop, in time by their product. Such a statement finds rows of
    /// tables by lists of ids (`= any (…)`); a nested loop or a bitmap is taken only where there is no other way.
    #[must_use]
    pub fn hashing(mut self) -> Self {
        let options = [("enable_nestloop", "off"), ("enable_bitmapscan", "off")];
        self.options = self.options.options(options);
        self
    }

    /// The connection, seeing at least these tenants.
    pub async fn take(&mut self, tenants: &[TenantId]) -> Result<&mut PgConnection, sqlx::Error> {
        let (mut connection, mut seen) = match self.open.take() {
            Some(open) => open,
            None => (
                within(CONNECTING, PgConnection::connect_with(&self.options)).await?,
                BTreeSet::new(),
            ),
        };
        if !tenants.iter().all(|tenant| seen.contains(tenant)) {
            if seen.len() + tenants.len() > MOST {
                seen.clear();
            }
            seen.extend(tenants);
            let all: Vec<TenantId> = seen.iter().copied().collect();
            sqlx::query("select set_config('app.tenants', $1, false)")
                .bind(tenants_setting(&all))
                .execute(&mut connection)
                .await?;
        }
        let (connection, _) = self.open.insert((connection, seen));
        Ok(connection)
    }

    /// Forgets a connection that may be broken.
    pub fn give_up(&mut self) {
        self.open = None;
    }

    /// Says goodbye to the server.
    pub async fn close(self) {
        if let Some((connection, _)) = self.open {
            let _ = connection.close().await;
        }
    }
}
