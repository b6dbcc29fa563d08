//! What happens to the servers when the process that started them is killed. The killed process is
//! this test binary again, told to run the one ignored test below.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use localdeps::{Home, Nats, Postgres, PostgresOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{eventually, is_alive};

const HELD_HOME: &str = "LOCALDEPS_TEST_HOME";

#[tokio::test]
#[ignore = "run by the tests below, in a process of its own"]
#[expect(clippy::disallowed_methods, reason = "the only way in for a test run as a program")]
async fn holds_servers_until_killed() {
    let home = Home::at(std::env::var(HELD_HOME).unwrap()).unwrap();
    let options = PostgresOptions { durable: false, ..home.postgres() };
    let postgres = Postgres::start(options).await.unwrap();
    let nats = Nats::start(home.nats("authorization { user: a, password: b }")).await.unwrap();
    // Past the harness, which captures what is printed.
    let line = format!("\nservers {} {}\n", postgres.pid(), nats.pid());
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    std::future::pending::<()>().await;
}

struct Holder {
    process: Child,
    servers: Vec<u32>,
}

fn hold(program: &Path, home: &Path, user: Option<(u32, u32)>) -> Holder {
    let mut command = Command::new(program);
    command.args(["--exact", "parent::holds_servers_until_killed", "--ignored", "--nocapture"]);
    command.env(HELD_HOME, home).current_dir("/").stdout(Stdio::piped()).stdin(Stdio::null());
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).find_map(|line| {
        line.strip_prefix("servers ").map(|pids| pids.split(' ').flat_map(str::parse).collect())
    });
    Holder { process, servers: said.expect("the holder should start its servers") }
}

impl Holder {
    fn kill_hard(self) -> Vec<u32> {
        self.servers.clone()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn no_server_outlives_a_killed_parent_and_the_next_start_recovers() {
    let scratch = Home::temporary().unwrap();
    let (program, home) = (std::env::current_exe().unwrap(), scratch.dir().join("home"));

    for _ in 0..2 {
        let holder = hold(&program, &home, None);
        assert!(holder.servers.len() == 2 && holder.servers.iter().all(|pid| is_alive(*pid)));

        let servers = holder.kill_hard();
        eventually("the servers end", || !servers.iter().any(|pid| is_alive(*pid)));
    }
}

#[test]
fn the_next_start_replaces_a_server_whose_watchdog_was_killed_as_well() {
    let scratch = Home::temporary().unwrap();
    let (program, home) = (std::env::current_exe().unwrap(), scratch.dir().join("home"));
    let holder = hold(&program, &home, None);

    // Stopped, so that they cannot react to the parent's end before they are killed themselves.
    let watchdogs = group_but(&holder.servers);
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        for pid in &watchdogs {
            let _ = kill(Pid::from_raw(*pid), signal);
        }
    }
    let left_over = holder.kill_hard();
    assert!(left_over.iter().all(|pid| is_alive(*pid)), "only then is there something to replace");

    let next = hold(&program, &home, None);
    assert!(!left_over.iter().any(|pid| is_alive(*pid)));
    assert!(next.servers.iter().all(|pid| is_alive(*pid)));
    let servers = next.kill_hard();
    eventually("the servers end", || !servers.iter().any(|pid| is_alive(*pid)));
}

/// The shells around the servers: same process group, but neither server nor its children.
fn group_but(servers: &[u32]) -> Vec<i32> {
    let mut shells = Vec::new();
    for server in servers {
        let pid = Pid::from_raw(server.cast_signed());
        let group = nix::unistd::getpgid(Some(pid)).unwrap();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(found) = entry.file_name().to_string_lossy().parse() else { continue };
            let is_shell = std::fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|name| name.trim() == "sh");
            let same = nix::unistd::getpgid(Some(Pid::from_raw(found))) == Ok(group);
            if same && is_shell {
                shells.push(found);
            }
        }
    }
    shells
}

/// The other tests run as whoever runs them, often root in CI; this one never does.
#[test]
fn an_ordinary_user_runs_the_servers_as_itself() {
    let scratch = Home::temporary().unwrap();
    let program = scratch.dir().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let home: PathBuf = scratch.dir().join("home");
    let user = scratch.user().map(|user| (user.uid, user.gid));
    if let Some((uid, gid)) = user {
        chown(scratch.dir(), Some(uid), Some(gid)).unwrap();
    }

    let holder = hold(&program, &home, user);
    assert!(!home.join("state").is_symlink());
    let servers = holder.kill_hard();
    eventually("the servers end", || !servers.iter().any(|pid| is_alive(*pid)));
}
