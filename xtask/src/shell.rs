//! Running programs and reading the tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A `cargo` in the workspace; the one that runs us, so that a toolchain override holds.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", spoken(command)))?;
    if !status.success() {
        bail!("failed: {}", spoken(command));
    }
    Ok(())
}

pub(crate) fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {}", spoken(command)))?;
    if !output.status.success() {
        bail!("failed: {}", spoken(command));
    }
    Ok(output.stdout)
}

pub(crate) fn has_cargo(subcommand: &str) -> bool {
    let mut probe = cargo([subcommand, "--version"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// `cargo metadata` of the workspace's own packages.
pub(crate) fn metadata() -> anyhow::Result<serde_json::Value> {
    let mut command = cargo(["metadata", "--no-deps", "--format-version", "1"]);
    Ok(serde_json::from_slice(&output(&mut command)?)?)
}

pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    let metadata = metadata()?;
    let dir = metadata["target_directory"].as_str().context("no target_directory")?;
    Ok(PathBuf::from(dir))
}

/// Every file below a folder that ends in one of `extensions`, in a stable order.
pub(crate) fn files(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "target" && !name.to_string_lossy().starts_with('.') {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Fails, naming the files, when a folder of the workspace does not hold what was generated.
pub(crate) fn compare(folder: &str, generated: &Path, repair: &str) -> anyhow::Result<()> {
    let (old, new) = (contents(&root().join(folder))?, contents(generated)?);
    let names = old.keys().chain(new.keys());
    let mut differing: Vec<String> = names
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| name.display().to_string())
        .collect();
    differing.sort();
    differing.dedup();
    if !differing.is_empty() {
        bail!("{folder} is out of date in {}; run `{repair}`", differing.join(", "));
    }
    Ok(())
}

/// Makes a folder of the workspace hold exactly the JSON files that were generated.
pub(crate) fn replace(folder: &str, generated: &Path) -> anyhow::Result<()> {
    let committed = root().join(folder);
    std::fs::create_dir_all(&committed)?;
    let new = contents(generated)?;
    for name in contents(&committed)?.keys().filter(|name| !new.contains_key(*name)) {
        std::fs::remove_file(committed.join(name))?;
    }
    for (name, text) in new {
        std::fs::write(committed.join(name), text)?;
    }
    Ok(())
}

fn contents(dir: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let read = |path: PathBuf| Ok((path.strip_prefix(dir)?.to_owned(), std::fs::read(&path)?));
    files(dir, &["json"]).into_iter().map(read).collect()
}

/// The command without what may hold a password: its environment, and addresses.
fn spoken(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy().into_owned());
    words.filter(|word| !word.contains("://")).collect::<Vec<_>>().join(" ")
}
