//! One `up` per home, and what is already running.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::Doing;

/// What a second `up` tells the person about the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub pid: u32,
    pub url: String,
}

/// Held for as long as an `up` runs; the kernel lets go of it when the process ends, however.
#[derive(Debug)]
pub struct Lock {
    status_file: PathBuf,
    _held: File,
}

impl Lock {
    /// Takes the lock of `dir`, or says who has it.
    pub fn take(dir: &Path) -> Result<Lock, Error> {
        let (lock_file, status_file) = (dir.join("up.lock"), dir.join("up.json"));
        let held = hold(&lock_file).map_err(|error| match error {
            Error::InUse(_) => Error::AlreadyRunning(read(&status_file)),
            other => other,
        })?;
        // What a killed predecessor left says nothing about us.
        let _ = std::fs::remove_file(&status_file);
        Ok(Lock { status_file, _held: held })
    }

    /// Says where we answer, once we do.
    pub fn publish(&self, url: &str) -> Result<(), Error> {
        let status = Status { pid: std::process::id(), url: url.to_owned() };
        let text = serde_json::json!(status).to_string();
        let draft = self.status_file.with_extension("json.new");
        std::fs::write(&draft, text).doing("write", &draft)?;
        std::fs::rename(&draft, &self.status_file).doing("write", &self.status_file)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.status_file);
    }
}

/// An exclusive lock on a file, created when missing.
pub(crate) fn hold(path: &Path) -> Result<File, Error> {
    let file =
        File::options().create(true).truncate(false).write(true).open(path).doing("open", path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(path.with_extension(""))),
        Err(std::fs::TryLockError::Error(error)) => Err(error).doing("lock", path),
    }
}

fn read(status_file: &Path) -> Option<Status> {
    serde_json::from_slice(&std::fs::read(status_file).ok()?).ok()
}
