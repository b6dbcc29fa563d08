//! The project's chores: `cargo xtask help`.

mod ci;
mod openapi;
mod rules;
mod servers;
mod shell;
mod sqlx;
mod test;

use anyhow::bail;

const HELP: &str = "\
cargo xtask <verb>

  test [nextest arguments]  every test, against a private Postgres (or those the arguments choose)
  check                     dependency rules, schema ownership, file sizes, .sqlx, openapi/
  ci                        formatting, lints, checks and tests, with the seconds each took
  sqlx [--check]            writes .sqlx from the SQL in the code, or compares
  openapi [--check]         writes openapi/ from the routes and events in the code, or compares
";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["test", ref rest @ ..] => test::run_all(rest),
        ["check"] => {
            rules::check()?;
            sqlx::check(&sqlx::CHECK)?;
            openapi::check()
        }
        ["ci"] => ci::run_all(),
        ["sqlx"] => sqlx::write(),
        ["sqlx", "--check"] => sqlx::check(&sqlx::CHECK),
        ["openapi"] => openapi::write(),
        ["openapi", "--check"] => openapi::check(),
        ["help" | "--help" | "-h"] => {
            eprint!("{HELP}");
            Ok(())
        }
        _ => bail!("unknown verb\n\n{HELP}"),
    }
}
