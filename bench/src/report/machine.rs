//! What the figures were seen on: they mean nothing elsewhere.

use std::{fmt, process::Command};

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cores: usize,
    processor: String,
    memory_gib: f64,
    system: String,
    postgres: String,
    nats: String,
    /// The commit of the working tree, with a mark when there were changes.
    commit: String,
    /// Whether this program, and so probably the services, were built to be fast.
    optimised: bool,
}

impl Machine {
    pub(super) fn here() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
                .unwrap_or_default()
        };
        let kilobytes = value(&meminfo, "MemTotal").trim_end_matches(" kB").parse::<f64>();
        let postgres = localdeps::find::postgres_bin_dir().map(|dir| dir.join("postgres"));
        let nats = localdeps::find::nats_server();
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: value(&cpuinfo, "model name"),
            memory_gib: (kilobytes.unwrap_or_default() / 1_048_576.0).round(),
            system: said(Command::new("uname").arg("-sr")),
            postgres: postgres
                .map(|path| said(Command::new(path).arg("--version")))
                .unwrap_or_default(),
            nats: nats.map(|path| said(Command::new(path).arg("--version"))).unwrap_or_default(),
            commit: said(Command::new("git").args(["describe", "--always", "--dirty"])),
            optimised: !cfg!(debug_assertions),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, memory_gib, system, postgres, nats, commit, optimised } = self;
        write!(
            f,
            "{cores} cores {processor}, {memory_gib} GiB, {system}, {postgres}, {nats}, at {commit}"
        )?;
        if *optimised { Ok(()) } else { write!(f, " · NOT OPTIMISED: these figures mean nothing") }
    }
}

/// Now, as the system writes it.
pub(super) fn date() -> String {
    said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().trim().to_owned()
}
