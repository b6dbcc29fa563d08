#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod home;
mod lock;
mod nats;
mod parent;
mod postgres;

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A dead process that its parent has not waited for is not alive.
fn is_alive(pid: u32) -> bool {
    let exists = kill(Pid::from_raw(pid.cast_signed()), None) != Err(Errno::ESRCH);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    exists && !stat.contains(") Z ")
}

/// Blocks until something holds, or fails after ten seconds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "did not happen in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
