//! The settings of commands that look after credentials: credsvc's, from the environment or from where `up` left them.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use servicekit::Env;

use crate::secrets::write_private;

/// Beside the other files of `up`, in the folder it was started in.
const LEFT_BY_UP: &str = ".switchyard/credsvc.env";
/// Without it nothing can be done, so it says which of the two is meant.
const DATABASE: &str = "SWITCHYARD_DATABASE_URL";

/// The environment; where that names no database, what a platform that `up` has started in this folder runs with, and the
/// environment over it.
pub(crate) fn env() -> anyhow::Result<Env> {
    let given = Env::process().into_map();
    if given.contains_key(DATABASE) {
        return Ok(Env::from_map(given));
    }
    let left = match std::fs::read_to_string(LEFT_BY_UP) {
        Ok(left) => left,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Env::from_map(given));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {LEFT_BY_UP}")),
    };
    let pairs = left.lines().filter_map(|line| line.split_once('='));
    let mut vars: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    vars.extend(given);
    Ok(Env::from_map(vars))
}

/// Leaves the settings for [`env`]. They are no more than is in the folder already, for its owner alone.
pub(crate) fn leave(home: &Path, vars: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let ours = vars.iter().filter(|(name, value)| {
        (name.starts_with("SWITCHYARD_") || name.starts_with("AWS_")) && !value.contains('\n')
    });
    let lines: Vec<String> = ours.map(|(name, value)| format!("{name}={value}")).collect();
    write_private(&home.join("credsvc.env"), &lines.join("\n"))
}
