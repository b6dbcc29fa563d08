//! The data folder: how it comes to be, and what a killed server may have left in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{PostgresOptions, SUPERUSER};
use crate::child::{confine, end_leftover, is_taken};
use crate::error::Doing;
use crate::nats::write_private;
use crate::{Error, find};

/// Collation by code point is the same everywhere; character classes are Unicode's.
const CHARACTERS: &str = if cfg!(target_os = "macos") { "en_US.UTF-8" } else { "C.UTF-8" };

/// The superuser's password, made up on the first start and kept beside the data.
pub(super) fn password(options: &PostgresOptions) -> Result<String, Error> {
    let file = password_file(options);
    if let Ok(password) = std::fs::read_to_string(&file) {
        return Ok(password);
    }
    if options.data_dir.join("PG_VERSION").exists() {
        return Err(Error::State(format!(
            "{} is missing, without which the database in {} cannot be opened",
            file.display(),
            options.data_dir.display()
        )));
    }
    let password = format!("{:032x}", rand::random::<u128>());
    write_private(&file, &password, options.user.as_ref())?;
    Ok(password)
}

/// Creates the data when there is none, and returns the programs that fit it.
pub(super) async fn ensure(options: &PostgresOptions) -> Result<PathBuf, Error> {
    let data_dir = &options.data_dir;
    if let Ok(version) = std::fs::read_to_string(data_dir.join("PG_VERSION")) {
        let newest = find::postgres_bin_dir()?;
        let major = version.trim().parse().unwrap_or(0);
        return if find::major_of(&newest) == Some(major) {
            Ok(newest)
        } else {
            find::postgres_bin_dir_of(major)
        };
    }
    let bin_dir = find::postgres_bin_dir()?;
    // Created beside and renamed: what is called by its name is complete.
    let draft = data_dir.with_extension("new");
    let _ = std::fs::remove_dir_all(&draft);
    initdb(options, &bin_dir, &draft).await?;
    std::fs::rename(&draft, data_dir).doing("create", data_dir)?;
    Ok(bin_dir)
}

async fn initdb(options: &PostgresOptions, bin_dir: &Path, draft: &Path) -> Result<(), Error> {
    let mut command = Command::new(bin_dir.join("initdb"));
    command
        .args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--encoding", "UTF8"])
        .args(["--lc-ctype", CHARACTERS, "--locale", "C"])
        .arg("--pwfile")
        .arg(password_file(options))
        .arg("--pgdata")
        .arg(draft);
    if !options.durable {
        command.arg("--no-sync");
    }
    confine(&mut command, draft.parent().unwrap_or(Path::new("/")), options.user.as_ref());
    command.stdin(Stdio::null());
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await;
    let output = output.doing("create", draft)?;
    if output.status.success() {
        return Ok(());
    }
    std::fs::write(&options.log_file, &output.stderr).doing("write", &options.log_file)?;
    Err(Error::failed("postgres", "could not create its data", &options.log_file))
}

/// Stops a server that outlived whoever started it: possible only when its watchdog was killed too.
/// The caller holds the data folder's lock, so it is nobody's.
pub(super) async fn stop_leftover(data_dir: &Path) {
    let Some((pid, _)) = read_pid_file(data_dir) else { return };
    end_leftover(pid, data_dir, [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGKILL]).await;
    // Some other program has the dead server's number by now, or nobody has reaped the dead server: Postgres would take
    // either for a running one.
    if is_taken(pid) {
        let _ = std::fs::remove_file(data_dir.join("postmaster.pid"));
    }
}

/// The server writes its state into its process id file, so nothing needs to log in to ask.
pub(super) fn is_ready(data_dir: &Path, pid: u32) -> bool {
    read_pid_file(data_dir).is_some_and(|(owner, state)| {
        owner.as_raw().cast_unsigned() == pid && state.as_deref() == Some("ready")
    })
}

fn read_pid_file(data_dir: &Path) -> Option<(Pid, Option<String>)> {
    let text = std::fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    Some((Pid::from_raw(pid), text.lines().nth(7).map(|state| state.trim().to_owned())))
}

fn password_file(options: &PostgresOptions) -> PathBuf {
    options.data_dir.with_extension("password")
}
