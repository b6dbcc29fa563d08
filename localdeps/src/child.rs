//! One server process that ends when we do.
//!
//! A small shell holds the server. It reads a pipe whose other end only we have, so it notices when
//! we are gone, however we went (also `kill -9`, also on a Mac), and then stops the server. Shell and
//! server are in a process group of their own: Ctrl-C in the terminal reaches us alone, and we stop
//! the servers in order.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::Doing;
use crate::{Error, ServerUser};

/// `$1`: tenths of a second between two signals; `$2`: the signals, from polite to final.
const WATCHDOG: &str = r#"
patience=$1; signals=$2; shift 2
exec 3<&0 </dev/null
"$@" >&2 3<&- &
server=$!
echo "$server"
exec >&2
(
    read -r _ <&3
    for signal in $signals; do
        kill -s "$signal" "$server" || exit 0
        tries=0
        while [ "$tries" -lt "$patience" ]; do
            sleep 0.1
            kill -0 "$server" || exit 0
            tries=$((tries + 1))
        done
    done
) 2>/dev/null &
watchdog=$!
exec 3<&-
wait "$server"; status=$?
kill "$watchdog" 2>/dev/null
exit "$status"
"#;

const PATIENCE: Duration = Duration::from_secs(5);
const LARGE_LOG: u64 = 10 * 1024 * 1024;

/// What to run and how to end it.
pub(crate) struct Program<'a> {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    /// From polite to final, e.g. `INT KILL`.
    pub(crate) signals: &'static str,
    pub(crate) work_dir: &'a Path,
    pub(crate) log_file: &'a Path,
    pub(crate) user: Option<&'a ServerUser>,
}

/// A running server. Dropping it stops the server and waits for that.
#[derive(Debug)]
pub(crate) struct Running {
    shell: Child,
    /// Closing it is the order to stop.
    lifeline: Option<ChildStdin>,
    pid: Pid,
}

impl Running {
    pub(crate) fn start(program: &Program<'_>) -> Result<Running, Error> {
        let log = open_log(program.log_file)?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WATCHDOG, program.name])
            .arg((PATIENCE.as_millis() / 100).to_string())
            .arg(program.signals)
            .arg(&program.path)
            .args(&program.args);
        confine(&mut command, program.work_dir, program.user);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);

        let mut shell = command.spawn().doing("run", &program.path)?;
        let lifeline = shell.stdin.take();
        let mut said = String::new();
        if let Some(stdout) = shell.stdout.take() {
            BufReader::new(stdout).read_line(&mut said).doing("run", &program.path)?;
        }
        match said.trim().parse() {
            Ok(pid) => Ok(Running { shell, lifeline, pid: Pid::from_raw(pid) }),
            Err(_) => Err(Error::failed(program.name, "could not be started", program.log_file)),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(None))
    }

    /// Stops politely, then firmly; returns when the process is gone.
    pub(crate) async fn stop(&mut self) {
        self.lifeline = None;
        while !self.is_gone() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `kill -9`, as a crash would; returns when the process is gone.
    pub(crate) async fn kill(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        self.stop().await;
    }

    fn is_gone(&mut self) -> bool {
        !self.is_running() && !is_alive(self.pid)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lifeline = None;
        let deadline = Instant::now() + 4 * PATIENCE;
        while !self.is_gone() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether a process runs, ours or not. A dead one that nobody has waited for yet does not: in a
/// container it may stay that way for good.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    is_taken(pid) && !state.is_some_and(|state| state.starts_with('Z'))
}

/// Whether the number belongs to any process, even a dead one that its parent has not asked about yet.
pub(crate) fn is_taken(pid: Pid) -> bool {
    !matches!(kill(pid, None), Err(Errno::ESRCH))
}

/// Ends a server that nobody started by us watches any more. It is known by its command line, which
/// names its folder; a process id alone may have been given to another program since.
pub(crate) async fn end_leftover(
    pid: Pid,
    folder: &Path,
    signals: impl IntoIterator<Item = Signal>,
) {
    for signal in signals {
        if !command_line(pid).contains(&*folder.to_string_lossy()) {
            return;
        }
        let _ = kill(pid, signal);
        let deadline = Instant::now() + PATIENCE;
        while is_alive(pid) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn command_line(pid: Pid) -> String {
    let arguments = match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(arguments) => arguments,
        Err(_) if cfg!(target_os = "linux") => Vec::new(),
        Err(_) => {
            let ps = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
            ps.map(|output| output.stdout).unwrap_or_default()
        }
    };
    String::from_utf8_lossy(&arguments).into_owned()
}

/// Runs as the servers' user, in their folder, with nothing of our environment: it holds keys.
pub(crate) fn confine(command: &mut Command, work_dir: &Path, user: Option<&ServerUser>) {
    command.current_dir(work_dir).env_clear();
    command
        .env("LC_ALL", "C")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", work_dir);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
}

fn open_log(path: &Path) -> Result<File, Error> {
    if path.metadata().is_ok_and(|log| log.len() > LARGE_LOG) {
        let older = path.with_extension("log.1");
        std::fs::rename(path, older).doing("rename", path)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).doing("open", path)
}
