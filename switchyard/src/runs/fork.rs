//! `switchyard runs fork`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::Method;
use serde_json::{Value, json};
use shared_models::{RunId, RunStatus, WaitReason};

use super::edit::{self, Edit};
use super::{HELD_UP, LATE, NOT_SO, print};
use crate::api::{Api, Door, Form, text};

/// What is forked, and how.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The run that the new one goes on from.
    run: RunId,
    /// The last record of its journal that stands; from the beginning unless said.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(2..), conflicts_with = "step")]
    at: Option<i64>,
    /// The reply of its model that is given anew, counted from 1: everything before it stands.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    step: Option<u32>,
    /// In a run of a swarm, whose reply: the member's path, with slashes between the names.
    #[arg(long, value_name = "PATH", requires = "step")]
    path: Option<String>,
    /// What is different: NAME=TEXT, NAME=@FILE or NAME:=JSON; may be said several times.
    ///
    /// Of an agent's run NAME is `input`, `instructions` (or `prompt`), `model`, `agent_version` or `tool_results/<call_id>`; of a
    /// swarm's `input`, `swarm_version`, `members/<path>/` with `instructions`, `model` or `agent_version` behind it, or
    /// `tool_results/<path>/<call_id>`.
    #[arg(long = "edit", value_name = "NAME=TEXT")]
    edits: Vec<Edit>,
    /// Call tools for real.
    #[arg(long)]
    live: bool,
    /// With --live: make calls again that the old run had begun and of which it had no answer at that point. They may have
    /// happened.
    #[arg(long, requires = "live")]
    repeat_open_calls: bool,
    /// What becomes of a call of a dry run that the old one has not made: a person is asked, the model is refused it, or it is
    /// made.
    #[arg(long, value_enum, conflicts_with = "live")]
    unmatched: Option<Unmatched>,
    /// How long it may take, in seconds, instead of the agent's own limit.
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u32>,
    /// Wait until it has ended, and let the exit code say how.
    #[arg(long)]
    wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 3600, requires = "wait")]
    timeout: u64,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    door: Door,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Unmatched {
    Ask,
    Refuse,
    Live,
}

/// Makes it, and perhaps waits.
pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let of = options.run;
    let mut asked = json!({ "mode": if options.live { "live" } else { "dry" }, "edits": edit::body(options.edits)? });
    if let Some(seq) = options.at {
        asked["from"] = json!({ "seq": seq });
    }
    if let Some(step) = options.step {
        asked["from"] = json!({ "step": step });
        if let Some(path) = &options.path {
            asked["from"]["path"] = edit::names(path).into();
        }
    }
    if let Some(unmatched) = options.unmatched {
        asked["unmatched"] = match unmatched {
            Unmatched::Ask => "ask",
            Unmatched::Refuse => "refuse",
            Unmatched::Live => "live",
        }
        .into();
    }
    if options.repeat_open_calls {
        asked["repeat_open_calls"] = true.into();
    }
    if let Some(seconds) = options.deadline {
        asked["deadline_seconds"] = seconds.into();
    }
    let api = Api::new(options.door)?;
    let made = api.ask(Method::POST, &format!("v1/runs/{of}/fork"), Some(&asked)).await?;
    let id = made["run_id"].as_str().context("the fork has no id")?;
    let (mode, seq) = (text(&made["mode"]), &made["from_seq"]);
    let is_made = || format!("{id} is a {mode} fork of {of}, whose records stand up to {seq}\n");
    if !options.wait {
        options.form.say(&made, is_made)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Whoever waits in vain has at least its name.
    if !options.form.is_json() {
        options.form.say(&made, is_made)?;
    }
    let until = Instant::now() + Duration::from_secs(options.timeout);
    let path = format!("v1/runs/{id}");
    let Some(mut run) = api.once(&path, until, |run| End::of(run).is_some()).await? else {
        if options.form.is_json() {
            options.form.say(&made, String::new)?;
        }
        let mut err = std::io::stderr();
        let _ = writeln!(err, "switchyard: {id} has not ended in {} s", options.timeout);
        return Ok(ExitCode::from(LATE));
    };
    for field in ["fork_of", "from_seq"] {
        run[field] = made[field].clone();
    }
    options.form.say(&run, || told(&run))?;
    Ok(End::of(&run).map_or(ExitCode::from(LATE), End::code))
}

/// How far a run has come, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Succeeded,
    Otherwise,
    /// It does not go on by itself.
    HeldUp,
}

impl End {
    /// None of a run that goes on by itself.
    fn of(run: &Value) -> Option<Self> {
        let reason = || text(&run["wait_reason"]).parse::<WaitReason>().ok();
        match text(&run["status"]).parse().ok()? {
            RunStatus::Succeeded => Some(Self::Succeeded),
            RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut => Some(Self::Otherwise),
            RunStatus::Paused => Some(Self::HeldUp),
            RunStatus::Waiting => match reason()? {
                WaitReason::Approval
                | WaitReason::Input
                | WaitReason::Auth
                | WaitReason::Budget
                | WaitReason::Doubt => Some(Self::HeldUp),
                WaitReason::Child | WaitReason::Timer | WaitReason::Callback | WaitReason::Turn => {
                    None
                }
            },
            RunStatus::Queued | RunStatus::Running => None,
        }
    }

    fn code(self) -> ExitCode {
        match self {
            Self::Succeeded => ExitCode::SUCCESS,
            Self::Otherwise => ExitCode::from(NOT_SO),
            Self::HeldUp => ExitCode::from(HELD_UP),
        }
    }
}

/// What it has come to, for a person.
fn told(run: &Value) -> String {
    let (id, status) = (text(&run["run_id"]), text(&run["status"]));
    let mut told = match run["wait_reason"].as_str() {
        Some(reason) => format!("{id} is {status} for {reason}\n"),
        None => format!("{id} is {status}\n"),
    };
    if let Some(error) = run["error"].as_object() {
        let of = |field: &str| error.get(field).map(text).unwrap_or_default();
        told = format!("{told}{}: {}\n", of("code"), print::whole(of("message")));
    }
    if let Some(output) = run["output"].as_str() {
        told.push_str(&print::whole(output));
        told.push('\n');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_waited_for_until_it_ends_or_needs_somebody() {
        let end = |status: &str, reason: Value| {
            End::of(&json!({ "status": status, "wait_reason": reason }))
        };
        assert_eq!(end("succeeded", Value::Null), Some(End::Succeeded));
        for status in ["failed", "cancelled", "timed_out"] {
            assert_eq!(end(status, Value::Null), Some(End::Otherwise), "{status}");
        }
        for reason in ["approval", "input", "auth", "budget", "doubt"] {
            assert_eq!(end("waiting", reason.into()), Some(End::HeldUp), "{reason}");
        }
        assert_eq!(end("paused", Value::Null), Some(End::HeldUp));
        for reason in ["child", "timer", "callback", "turn", "unheard of"] {
            assert_eq!(end("waiting", reason.into()), None, "{reason}");
        }
        for status in ["queued", "running", "unheard of"] {
            assert_eq!(end(status, Value::Null), None, "{status}");
        }
    }

    #[test]
    fn what_it_has_come_to_is_told_with_its_error_or_its_output() {
        let failed = json!({ "run_id": "run_1", "status": "failed", "wait_reason": null, "output": null,
            "error": { "code": "model_refused", "message": "no\u{1b}[2J" } });
        assert_eq!(told(&failed), "run_1 is failed\nmodel_refused: no\\u{1b}[2J\n");
        let asks = json!({ "run_id": "run_1", "status": "waiting", "wait_reason": "input", "output": null, "error": null });
        assert_eq!(told(&asks), "run_1 is waiting for input\n");
        let done = json!({ "run_id": "run_1", "status": "succeeded", "wait_reason": null, "output": "a\nb", "error": null });
        assert_eq!(told(&done), "run_1 is succeeded\na\nb\n");
    }
}
