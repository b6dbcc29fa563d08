//! Child processes, which do not outlive us.

use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

/// How long a program may take to do what it was started for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs until it is stopped.
pub(crate) struct Process {
    name: String,
    child: Child,
    pid: u32,
    out: PathBuf,
    err: PathBuf,
}

/// A program, where it runs and with which environment beside `PATH` and the like.
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) arguments: Vec<String>,
    pub(crate) vars: BTreeMap<String, String>,
    pub(crate) dir: &'a Path,
}

impl Program<'_> {
    /// Starts it, its output appended to files named after `name`.
    pub(crate) fn start(&self, name: &str) -> anyhow::Result<Process> {
        let (out, err) =
            (self.dir.join(format!("{name}.out")), self.dir.join(format!("{name}.log")));
        let append = |path| File::options().create(true).append(true).open(path);
        let mut command = self.command();
        command.stdout(append(&out)?).stderr(append(&err)?);
        let child =
            command.spawn().with_context(|| format!("cannot run {}", self.path.display()))?;
        let pid = child.id().context("it ended at once")?;
        Ok(Process { name: name.to_owned(), child, pid, out, err })
    }

    /// Runs it to its end; gives what it wrote to standard output.
    pub(crate) async fn output(&self) -> anyhow::Result<String> {
        let output = self.command().output().await;
        let output = output.with_context(|| format!("cannot run {}", self.path.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} {:?} failed: {said}", self.path.display(), self.arguments.first());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.path);
        command.args(&self.arguments).env_clear().envs(inherited()).envs(&self.vars);
        command.current_dir(self.dir).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has said that it is listening; gives where.
    pub(crate) async fn address(&mut self) -> anyhow::Result<SocketAddr> {
        let line = self.line("listening on ").await?;
        line.trim_start_matches("listening on ").parse().context("no address")
    }

    /// Waits for a line of standard output that begins like this, or contains it.
    pub(crate) async fn line(&mut self, part: &str) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&self.out).unwrap_or_default();
            if let Some(line) = text.split_inclusive('\n').find(|line| line.contains(part))
                && line.ends_with('\n')
            {
                return Ok(line.trim_end().to_owned());
            }
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{} does not start: {}", self.name, self.log_end());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(&mut self, signal: Signal) -> anyhow::Result<()> {
        // One that has ended already cannot be told anything.
        let _ = kill(Pid::from_raw(self.pid.cast_signed()), signal);
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
            bail!("{} did not end: {}", self.name, self.log_end());
        }
        Ok(())
    }

    /// The last lines it has logged.
    pub(crate) fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.err).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// What every child inherits: where programs are, and nothing that configures the platform.
#[allow(clippy::disallowed_methods, reason = "children inherit where programs are")]
fn inherited() -> Vec<(String, String)> {
    ["PATH", "HOME", "TMPDIR", "USER"]
        .iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| ((*name).to_owned(), value)))
        .collect()
}
