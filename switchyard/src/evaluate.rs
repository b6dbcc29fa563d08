//! `switchyard evaluate`: tries an agent with its test cases, for a build that is to fail when the agent does.
//!
//! Exit codes: 0 everything that is expected is so (or, without `--wait`, the evaluation is asked for), 1 it could not be asked
//! for or followed, 2 wrong usage, 4 something expected is not so, 5 a case could not be run or judged, or somebody has
//! cancelled the evaluation, 6 it has not finished in time.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::api::{Api, Door, Form, text};

/// Something expected is not so.
const UNMET: u8 = 4;
/// A case could not be run or judged.
const NOT_TRIED: u8 = 5;
/// The evaluation has not finished.
const LATE: u8 = 6;

/// What is tried.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The agent's name or id.
    agent: String,
    /// Which version; the present one unless said.
    #[arg(long = "agent-version", visible_alias = "version")]
    version: Option<i32>,
    /// Only the case of this name; may be said several times.
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Where tools have their answers from: as each case says, from the cases, or called for real.
    #[arg(long, value_enum, default_value_t = Mode::AsSaved)]
    mode: Mode,
    /// Wait until it has finished, and let the exit code say how: 0 all is as expected, 4 something is not, 5 a case could
    /// not be run or judged, 6 not finished in time.
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
enum Mode {
    AsSaved,
    Recorded,
    Live,
}

/// Asks for it, and perhaps waits.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let api = Api::new(options.door)?;
    let agent = agent(&api, &options.agent).await?;
    let mut asked = json!({ "mode": match options.mode {
        Mode::AsSaved => "as_saved",
        Mode::Recorded => "recorded",
        Mode::Live => "live",
    } });
    if let Some(version) = options.version {
        asked["version"] = version.into();
    }
    if !options.cases.is_empty() {
        asked["cases"] = cases(&api, &agent, &options.cases).await?.into();
    }
    let made = api.ask(Method::POST, &format!("v1/agents/{agent}/evaluate"), Some(&asked)).await?;
    let id = made["evaluation_id"].as_str().context("the evaluation has no id")?.to_owned();
    let path = format!("v1/evaluations/{id}");
    if !options.wait {
        options.form.say(&made, || format!("{id} is running\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let until = Instant::now() + Duration::from_secs(options.timeout);
    let Some(report) = api.once(&path, until, |report| report["status"] != "running").await? else {
        let mut err = std::io::stderr();
        let _ = writeln!(err, "switchyard: {id} has not finished in {} s", options.timeout);
        return Ok(ExitCode::from(LATE));
    };
    options.form.say(&report, || told(&report))?;
    Ok(verdict(&report))
}

/// What the report comes to, for whoever only asks for the exit code.
fn verdict(report: &Value) -> ExitCode {
    let count = |name: &str| report["counts"][name].as_i64().unwrap_or(-1);
    let whole = report["status"] == "finished" && count("error") == 0 && count("open") == 0;
    match (whole, count("failed")) {
        (false, _) => ExitCode::from(NOT_TRIED),
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::from(UNMET),
    }
}

/// The report for a person: a line per case, and one for each thing that is not so.
fn told(report: &Value) -> String {
    let mut lines = Vec::new();
    for result in report["results"].as_array().into_iter().flatten() {
        let (state, name) = (text(&result["state"]), text(&result["case_name"]));
        let run = text(&result["run_id"]);
        lines.push(format!("{state:8} {name}  {run}"));
        if let Some(error) = result["error"].as_str() {
            lines.push(format!("         {error}"));
        }
        for expected in result["expectations"].as_array().into_iter().flatten() {
            if expected["passed"] == false {
                let kind = text(&expected["expectation"]["kind"]);
                lines.push(format!("         {kind}: {}", text(&expected["detail"])));
            }
        }
    }
    let count = |name: &str| report["counts"][name].as_i64().unwrap_or_default();
    let (passed, failed, error) = (count("passed"), count("failed"), count("error"));
    let agent = format!("{} {}", text(&report["agent_name"]), report["agent_version"]);
    lines.push(format!("{agent}: {passed} passed, {failed} failed, {error} could not be tried"));
    lines.join("\n") + "\n"
}

/// The id of the agent of this name, or with this id.
async fn agent(api: &Api, name: &str) -> anyhow::Result<String> {
    if name.parse::<shared_models::AgentId>().is_ok() {
        return Ok(name.to_owned());
    }
    let mut query = Url::parse("http://unused/v1/agents")?;
    query.query_pairs_mut().append_pair("name", name);
    let path = format!("v1/agents?{}", query.query().unwrap_or_default());
    let found = api.ask(Method::GET, &path, None).await?;
    let id = found["items"][0]["agent_id"].as_str();
    id.map(str::to_owned).with_context(|| format!("there is no agent named `{name}`"))
}

/// The ids of the cases of these names.
async fn cases(api: &Api, agent: &str, names: &[String]) -> anyhow::Result<Vec<String>> {
    let (mut known, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let path = format!("v1/agents/{agent}/cases?limit=100{after}");
        let page = api.ask(Method::GET, &path, None).await?;
        for case in page["items"].as_array().into_iter().flatten() {
            known.push((text(&case["name"]).to_owned(), text(&case["case_id"]).to_owned()));
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let id = |name: &String| {
        let found = known.iter().find(|(known, _)| known == name);
        found
            .map(|(_, id)| id.clone())
            .with_context(|| format!("the agent has no case named `{name}`"))
    };
    names.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(status: &str, failed: i64, error: i64, open: i64) -> String {
        let counts = json!({ "failed": failed, "error": error, "open": open });
        format!("{:?}", verdict(&json!({ "status": status, "counts": counts })))
    }

    #[test]
    fn only_a_whole_evaluation_without_failures_is_a_success() {
        let exit = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code("finished", 0, 0, 0), exit(0));
        assert_eq!(code("finished", 1, 0, 0), exit(UNMET));
        assert_eq!(code("finished", 1, 1, 0), exit(NOT_TRIED));
        assert_eq!(code("cancelled", 0, 0, 1), exit(NOT_TRIED));
        assert_eq!(format!("{:?}", verdict(&json!({}))), exit(NOT_TRIED));
    }

    #[test]
    fn a_report_says_what_is_not_so_and_why() {
        let report = json!({ "agent_name": "a", "agent_version": 2,
            "counts": { "passed": 0, "failed": 1, "error": 0 },
            "results": [{ "state": "failed", "case_name": "refunds", "run_id": "run_1", "error": null,
                "expectations": [
                    { "expectation": { "kind": "tool_called" }, "passed": true, "detail": null },
                    { "expectation": { "kind": "judged" }, "passed": false, "detail": "rude" }] }] });

        let told = told(&report);

        assert_eq!(
            told,
            "failed   refunds  run_1\n         judged: rude\na 2: 0 passed, 1 failed, 0 could not be tried\n"
        );
    }
}
