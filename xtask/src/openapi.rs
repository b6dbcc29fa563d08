//! `openapi/`: each service's document, the merged one, and the schemas of events.

use std::path::PathBuf;
use std::process::Command;

use crate::shell::{cargo, compare, replace, root, run, target_dir};
use crate::test::offline;

const FOLDER: &str = "openapi";
const REPAIR: &str = "cargo xtask openapi";

pub(crate) fn write() -> anyhow::Result<()> {
    build()?;
    replace(FOLDER, &generate()?)
}

pub(crate) fn check() -> anyhow::Result<()> {
    build()?;
    check_built()
}

/// With the `switchyard` that is already built.
pub(crate) fn check_built() -> anyhow::Result<()> {
    compare(FOLDER, &generate()?, REPAIR)
}

fn build() -> anyhow::Result<()> {
    run(offline(&mut cargo(["build", "-q", "-p", "switchyard"])))
}

fn generate() -> anyhow::Result<PathBuf> {
    let target = target_dir()?;
    let generated = target.join("xtask/openapi");
    let _ = std::fs::remove_dir_all(&generated);
    std::fs::create_dir_all(&generated)?;
    let switchyard = target.join("debug/switchyard");
    run(Command::new(switchyard).arg("openapi").arg(&generated).current_dir(root()))?;
    Ok(generated)
}
