use std::io;
use std::path::{Path, PathBuf};

use crate::lock::Status;

/// Why a server could not be started or stopped. The text is meant for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server is missing on this machine; the text says how to install it.
    #[error("{0}")]
    NotInstalled(String),
    /// Somebody else holds this folder's lock.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Another `up` is running in this folder.
    #[error("already running{}", describe(.0.as_ref()))]
    AlreadyRunning(Option<Status>),
    /// The folder cannot hold the servers' state.
    #[error("{0}")]
    State(String),
    /// A server ended or did not answer; carries the end of its log.
    #[error("{server} {happened}; the end of {}:\n{log}", .log_file.display())]
    Failed { server: &'static str, happened: String, log_file: PathBuf, log: String },
    #[error("{what}")]
    Io { what: String, source: io::Error },
}

fn describe(status: Option<&Status>) -> String {
    match status {
        Some(status) => format!(" at {} (process {})", status.url, status.pid),
        None => String::from(" (it is just starting)"),
    }
}

impl Error {
    pub(crate) fn failed(
        server: &'static str,
        happened: impl Into<String>,
        log_file: &Path,
    ) -> Error {
        let text = std::fs::read(log_file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut last: Vec<&str> = text.lines().rev().take(15).collect();
        last.reverse();
        Error::Failed {
            server,
            happened: happened.into(),
            log_file: log_file.to_owned(),
            log: last.join("\n"),
        }
    }
}

/// Says which action on which path failed, because an `io::Error` does not.
pub(crate) trait Doing<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            what: format!("cannot {what} {}", path.display()),
            source,
        })
    }
}
