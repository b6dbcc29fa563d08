//! A child process whose output is kept, and which does not outlive its test.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A running `switchyard`.
pub struct Process {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.signal(Signal::SIGTERM);
            self.wait(Duration::from_secs(20));
        }
    }
}

/// The binary under test.
#[allow(
    clippy::disallowed_methods,
    reason = "the harness is told by its environment where the binary is"
)]
fn binary() -> PathBuf {
    let told = std::env::var_os("SWITCHYARD_BIN").map(PathBuf::from);
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/switchyard");
    let path = told.unwrap_or(built);
    assert!(
        path.exists(),
        "{} is missing: run `make test`, or `cargo build -p switchyard`",
        path.display()
    );
    path
}

impl Process {
    /// Starts the binary with these arguments and only this environment (and PATH), its output appended to files named
    /// after `name` in `dir`.
    pub fn start(
        dir: &Path,
        name: &str,
        arguments: &[&str],
        vars: &BTreeMap<String, String>,
    ) -> Self {
        let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.log")));
        let append = |path| File::options().create(true).append(true).open(path).unwrap();
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().envs(environment()).envs(vars);
        command.current_dir(dir).stdin(Stdio::null()).stdout(append(&out)).stderr(append(&err));
        let child = command.spawn().expect("the binary starts");
        Self { child, out, err }
    }

    /// Runs the binary to its end: exit status and standard output.
    pub fn run(
        dir: &Path,
        name: &str,
        arguments: &[&str],
        vars: &BTreeMap<String, String>,
    ) -> (ExitStatus, String) {
        let mut process = Self::start(dir, name, arguments, vars);
        let status = process.wait(Duration::from_secs(60));
        (status, process.output())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // A process that has already ended cannot be told anything.
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Waits for its end; kills it and fails when that takes too long.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if started.elapsed() > limit {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                assert!(std::thread::panicking(), "did not end in {limit:?}: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has written to standard output so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap_or_default()
    }
}

/// What every child inherits: where programs are, and nothing that configures the platform.
#[allow(clippy::disallowed_methods, reason = "children inherit the harness's PATH")]
fn environment() -> Vec<(String, String)> {
    ["PATH", "HOME", "TMPDIR", "USER"]
        .iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| ((*name).to_owned(), value)))
        .collect()
}
