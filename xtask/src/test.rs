//! Every test, against a private Postgres. Tests start a NATS of their own when they need one.

use std::process::Command;

use crate::servers::TestPostgres;
use crate::shell::{cargo, has_cargo, root, run, target_dir};

/// Programs and tests in one build: building a single package would choose other features for the
/// crates they share, and compile those twice.
const BUILD: [&str; 4] = ["build", "--workspace", "--bins", "--tests"];

pub(crate) fn run_all(arguments: &[&str]) -> anyhow::Result<()> {
    let postgres = TestPostgres::start()?;
    if !chooses_packages(arguments) {
        build()?;
    }
    tests(&postgres, arguments)?;
    if arguments.is_empty() { doc_tests() } else { Ok(()) }
}

pub(crate) fn build() -> anyhow::Result<()> {
    run(offline(&mut cargo(BUILD)))
}

pub(crate) fn tests(postgres: &TestPostgres, arguments: &[&str]) -> anyhow::Result<()> {
    // Without nextest the tests run as well, one binary after the other.
    let mut command = if has_cargo("nextest") {
        cargo(["nextest", "run"])
    } else {
        eprintln!("cargo-nextest is not installed: running `cargo test` instead, which is slower");
        cargo(["test", "--bins", "--lib", "--tests"])
    };
    if !chooses_packages(arguments) {
        command.arg("--workspace");
    }
    command.args(arguments);
    command.env("SWITCHYARD_TEST_POSTGRES", postgres.admin_url());
    command.env("SWITCHYARD_BIN", target_dir()?.join("debug/switchyard"));
    run(offline(&mut command))
}

pub(crate) fn doc_tests() -> anyhow::Result<()> {
    run(offline(&mut cargo(["test", "--doc", "--workspace", "-q"])))
}

/// Checks SQL against `.sqlx`, whatever database somebody's `DATABASE_URL` names: the platform reads
/// that name as well, and its database need not be migrated. `SQLX_OFFLINE=false` asks the database.
pub(crate) fn offline(command: &mut Command) -> &mut Command {
    if std::env::var_os("SQLX_OFFLINE").is_none() && root().join(".sqlx").exists() {
        command.env("SQLX_OFFLINE", "true");
    }
    command
}

fn chooses_packages(arguments: &[&str]) -> bool {
    arguments.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}
