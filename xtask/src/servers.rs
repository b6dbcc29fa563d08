//! A private Postgres for the length of a chore.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use localdeps::{Home, Postgres, PostgresOptions, find};

use crate::rules::SERVICES;
use crate::shell::{files, root, run};

pub(crate) struct TestPostgres {
    // Dropped in this order: the server before the folder it writes to.
    postgres: Postgres,
    _home: Home,
}

impl TestPostgres {
    pub(crate) fn start() -> anyhow::Result<TestPostgres> {
        let home = Home::temporary()?;
        let options = PostgresOptions { durable: false, ..home.postgres() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let postgres = runtime.block_on(Postgres::start(options))?;
        Ok(TestPostgres { postgres, _home: home })
    }

    pub(crate) fn admin_url(&self) -> String {
        self.postgres.admin_url()
    }

    /// Every service's schema, owned by its own login, as `switchyard migrate` makes them.
    pub(crate) fn migrate(&self) -> anyhow::Result<()> {
        for service in SERVICES {
            let owner = format!("{service}_owner");
            self.psql(&[&format!(
                "create role {owner}; create role {service}_app; create role {service}_system; \
                 create schema {service} authorization {owner}; \
                 grant usage on schema {service} to {service}_app, {service}_system;"
            )])?;
            let place = format!("set role {owner}; set search_path = {service}");
            for part in ["plumbing", service] {
                for file in files(&root().join("migrations").join(part), &["sql"]) {
                    self.apply(&place, &file)?;
                }
            }
        }
        Ok(())
    }

    fn apply(&self, first: &str, file: &Path) -> anyhow::Result<()> {
        let include = format!("\\i '{}'", file.display());
        self.psql(&[first, &include]).with_context(|| format!("in {}", file.display()))
    }

    fn psql(&self, commands: &[&str]) -> anyhow::Result<()> {
        let mut psql = Command::new(find::postgres_bin_dir()?.join("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d"]).arg(self.admin_url());
        psql.env("PGOPTIONS", "-c client_min_messages=warning");
        for command in commands {
            psql.args(["-c", command]);
        }
        run(&mut psql)
    }
}
