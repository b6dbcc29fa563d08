//! `switchyard up`, as a newcomer starts it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use testkit::{Api, eventually_within};

use crate::Process;

/// A folder in which `switchyard up` runs, or has run.
pub struct Laptop {
    // Fields drop in order: the process before the folder it writes to.
    process: Process,
    vars: BTreeMap<String, String>,
    dir: tempfile::TempDir,
}

impl Laptop {
    /// Starts it in a new folder and waits until it says it is ready.
    pub async fn start(vars: &[(&str, &str)]) -> Self {
        let mut this = Self::starting(vars);
        this.ready().await;
        this
    }

    /// Starts it in a new folder and waits for nothing.
    pub fn starting(vars: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vars =
            vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let process = up(dir.path(), &vars);
        Self { process, vars, dir }
    }

    /// Starts it again in the same folder, after it was stopped or killed.
    pub async fn again(&mut self) {
        self.start_over();
        self.ready().await;
    }

    /// The same, waiting for nothing.
    pub fn start_over(&mut self) {
        for file in ["up.out", "up.log"] {
            std::fs::remove_file(self.dir.path().join(file)).unwrap();
        }
        self.process = up(self.dir.path(), &self.vars);
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) {
        self.says("Ctrl-C stops everything").await;
    }

    /// Waits until it says something.
    pub async fn says(&mut self, what: &str) {
        let process = &mut self.process;
        eventually_within(Duration::from_secs(90), "`switchyard up` to get there", async || {
            assert!(process.running(), "`switchyard up` ended: {}", process.log());
            (process.output().contains(what) || process.log().contains(what)).then_some(())
        })
        .await;
    }

    /// The folder it runs in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The environment it was started with.
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    /// Ctrl-C, and waits for the end.
    pub fn interrupt(&mut self) -> std::process::ExitStatus {
        self.process.signal(Signal::SIGINT);
        self.process.wait(Duration::from_secs(30))
    }

    /// What it wrote to `.switchyard/env`.
    pub fn env(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.env_file()).unwrap();
        let pairs = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Where that file is.
    pub fn env_file(&self) -> PathBuf {
        self.dir.path().join(".switchyard/env")
    }

    /// The public address, with the first API key.
    pub fn api(&self) -> Api {
        let env = self.env();
        Api::at(env["SWITCHYARD_URL"].clone()).token(&env["SWITCHYARD_API_KEY"])
    }
}

fn up(dir: &Path, vars: &BTreeMap<String, String>) -> Process {
    Process::start(dir, "up", &["up"], vars)
}
