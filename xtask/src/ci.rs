//! What has to pass before a change goes in, cheapest first, with the time each step took.

use std::time::Instant;

use crate::servers::TestPostgres;
use crate::shell::{cargo, has_cargo, run};
use crate::{openapi, rules, sqlx, test};

/// Denied here and not by `RUSTFLAGS`, which would compile every dependency again.
const CLIPPY: [&str; 6] = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: [Step; 8] = [
    ("formatting", || run(&mut cargo(["fmt", "--all", "--check"]))),
    ("rules", rules::check),
    // Linting expands every query, so it collects `.sqlx` on the way.
    ("clippy and .sqlx", || sqlx::check(&CLIPPY)),
    ("licences and advisories", deny),
    ("build", test::build),
    ("openapi", openapi::check_built),
    ("tests", || test::tests(&TestPostgres::start()?, &[])),
    ("doc tests", test::doc_tests),
];

pub(crate) fn run_steps(steps: &[Step]) -> (Vec<(&'static str, f64)>, anyhow::Result<()>) {
    let mut took = Vec::new();
    for (name, step) in steps {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let result = step();
        took.push((*name, started.elapsed().as_secs_f64()));
        if let Err(error) = result {
            return (took, Err(error.context(format!("step `{name}` failed"))));
        }
    }
    (took, Ok(()))
}

pub(crate) fn run_all() -> anyhow::Result<()> {
    let (took, result) = run_steps(&STEPS);
    eprintln!("\n{:<26}{:>10}", "step", "seconds");
    for (name, seconds) in &took {
        eprintln!("{name:<26}{seconds:>10.1}");
    }
    let total: f64 = took.iter().map(|(_, seconds)| seconds).sum();
    eprintln!("{:<26}{total:>10.1}", if result.is_ok() { "all passed" } else { "stopped" });
    result
}

fn deny() -> anyhow::Result<()> {
    if !has_cargo("deny") {
        eprintln!("skipped: cargo-deny is not installed");
        return Ok(());
    }
    run(&mut cargo(["deny", "check"]))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::run_steps;

    #[test]
    fn the_first_failing_step_is_the_last_one_run() {
        let (took, result) = run_steps(&[
            ("good", || Ok(())),
            ("bad", || bail!("broken")),
            ("never", || panic!("a step after a failing one was run")),
        ]);

        assert_eq!(took.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["good", "bad"]);
        assert_eq!(result.unwrap_err().to_string(), "step `bad` failed");
    }
}
