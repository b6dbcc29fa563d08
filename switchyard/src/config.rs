//! `switchyard config`: what a service would run with.

use std::{fmt, io::Write as _};

use servicekit::{ConfigProblem, Env, telemetry::TelemetryConfig};
use shared_models::Service;

use crate::roles::Role;

/// Settings that cannot be used: all of them.
#[derive(Debug)]
pub(crate) struct Invalid(pub(crate) Vec<ConfigProblem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} problem(s)", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Invalid {}

/// Prints each service's settings as `NAME=value`, with a mark on defaults; fails with all problems of all services.
pub(crate) fn print(only: Option<Service>) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    let mut out = std::io::stdout().lock();
    for &service in Service::ALL.iter().filter(|&&service| only.is_none_or(|one| one == service)) {
        let mut env = Env::process();
        TelemetryConfig::read(&mut env, service.name());
        Role::read(service, &mut env);
        writeln!(out, "# {service}")?;
        for setting in env.effective() {
            let mark = if setting.set { "" } else { "  # default" };
            writeln!(out, "{}={}{mark}", setting.name, setting.value)?;
        }
        problems.extend(env.finish().err().unwrap_or_default());
    }
    problems.sort_by(|a, b| a.name.cmp(&b.name));
    problems.dedup();
    if problems.is_empty() { Ok(()) } else { Err(Invalid(problems).into()) }
}
