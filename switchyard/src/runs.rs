//! `switchyard runs`: forks a run, or lays two runs beside each other.
//!
//! Exit codes: 0 done (`fork --wait`: the fork has succeeded; `diff`: the two say and call the same), 1 it could not be done,
//! 2 wrong usage, 4 not so (the fork has ended otherwise; the two differ), 5 the fork waits for somebody, 6 it has not ended in
//! time.

mod diff;
mod edit;
mod fork;
mod print;

use std::process::ExitCode;

/// It is not as one would have it.
const NOT_SO: u8 = 4;
/// Somebody has to do something first.
const HELD_UP: u8 = 5;
/// It has not ended.
const LATE: u8 = 6;

/// What is done with runs.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Let another run go on from any point of this one, with something changed. Dry unless told otherwise: its models are
    /// asked, its tools answer what they have answered before, and nothing reaches the world.
    ///
    /// Exit codes: 0 the fork is made (with --wait: it has succeeded), 1 it could not be made or followed, 2 wrong usage;
    /// with --wait also 4 it has ended otherwise, 5 it waits for somebody, 6 it has not ended in time.
    Fork(fork::Options),
    /// See how two runs differ: what was said, what was called, what they took.
    ///
    /// Exit codes: 0 the same was said and called, and both ended (or go on) alike, 1 they could not be compared, 2 wrong
    /// usage, 4 they differ.
    Diff(diff::Options),
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Fork(options) => fork::run(options).await,
        Command::Diff(options) => diff::run(options).await,
    }
}
