//! `.sqlx`: what Postgres says about each query in the code, so that building needs no database.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

use crate::servers::TestPostgres;
use crate::shell::{cargo, compare, files, replace, root, run, target_dir};

const FOLDER: &str = ".sqlx";
pub(crate) const CHECK: [&str; 3] = ["check", "--workspace", "--all-targets"];

/// Replaces `.sqlx`, also removing what no code asks for any more.
pub(crate) fn write() -> anyhow::Result<()> {
    replace(FOLDER, &collect(&CHECK)?)
}

/// Fails when `.sqlx` is not what the code and the migrations say. `compile` is the cargo command
/// that expands the queries.
pub(crate) fn check(compile: &[&'static str]) -> anyhow::Result<()> {
    compare(FOLDER, &collect(compile)?, "cargo xtask sqlx")
}

fn collect(compile: &[&'static str]) -> anyhow::Result<PathBuf> {
    let generated = target_dir()?.join("xtask/sqlx");
    let _ = std::fs::remove_dir_all(&generated);
    std::fs::create_dir_all(&generated)?;
    let postgres = TestPostgres::start()?;
    postgres.migrate()?;

    let _touched = Touched::everything_with_queries()?;
    let mut command = cargo(compile.iter().copied());
    command.env("DATABASE_URL", postgres.admin_url()).env("SQLX_OFFLINE_DIR", &generated);
    run(command.env_remove("SQLX_OFFLINE"))?;
    Ok(generated)
}

/// Queries are written down while they are compiled, and what seems unchanged is not compiled.
/// So these files look new for the moment, and their old times come back when this is dropped:
/// nothing else is compiled again on their account.
struct Touched(Vec<(PathBuf, SystemTime)>);

impl Touched {
    fn everything_with_queries() -> anyhow::Result<Touched> {
        let mut touched = Touched(Vec::new());
        for path in files(root(), &["rs"]) {
            let text = std::fs::read_to_string(&path)?;
            if !["query!", "query_as!", "query_scalar!"].iter().any(|name| text.contains(name)) {
                continue;
            }
            let before = path.metadata()?.modified()?;
            touch(&path, SystemTime::now()).with_context(|| path.display().to_string())?;
            touched.0.push((path, before));
        }
        Ok(touched)
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        for (path, before) in &self.0 {
            // Left looking new, it is compiled once more than needed.
            let _ = touch(path, *before);
        }
    }
}

fn touch(path: &Path, at: SystemTime) -> std::io::Result<()> {
    File::options().append(true).open(path)?.set_modified(at)
}
