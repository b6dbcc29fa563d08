//! The same agent on other frameworks, against the same mock, one after the other.
//!
//! `agentcore` always asks the model for a stream; rig does so only when its caller wants one, so both are measured.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::{bench::Bench, figure::Figure, library, measure, process::Program, tell};

/// Where the peers are; `make bench-peers` builds them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Programs {
    /// The program on rig.
    #[arg(long)]
    rig: PathBuf,
    /// A Python in whose environment the frameworks are installed.
    #[arg(long)]
    python: PathBuf,
    /// The program on them.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/python/run.py"))]
    script: PathBuf,
}

const FRAMEWORKS: [&str; 3] = ["openai-agents", "pydantic-ai", "langgraph"];
const LOADS: [(u32, u32); 3] = [(1, 1), (64, 1), (64, 2)];

pub(crate) async fn compare(bench: &mut Bench, programs: &Programs) -> anyhow::Result<()> {
    tell("library runs, ours and rig's in turns");
    for (in_flight, threads) in LOADS {
        let load = format!("{in_flight} in flight, {threads} thread(s)");
        crate::progress(&format!("agentcore, {load}"));
        let ours = library::repeat(bench, library::What::Mock, in_flight, threads).await?;
        bench.report.row("library runs", &format!("agentcore, {load}"), ours);
        crate::progress(&format!("rig, {load}"));
        let theirs = repeat(bench, &programs.rig, &[], in_flight, threads).await?;
        bench.report.row("library runs", &format!("rig, {load}"), theirs);
        crate::progress(&format!("rig streaming, {load}"));
        let streaming = repeat(bench, &programs.rig, &["--streaming"], in_flight, threads).await?;
        bench.report.row("library runs", &format!("rig streaming, {load}"), streaming);
    }
    tell("Python frameworks");
    for framework in FRAMEWORKS {
        for in_flight in [1, 64] {
            let name = format!("{framework}, {in_flight} in flight, 1 thread(s)");
            crate::progress(&name);
            let script = programs.script.display().to_string();
            let figure =
                repeat(bench, &programs.python, &[&script, framework], in_flight, 1).await?;
            bench.report.row("library runs", &name, figure);
        }
    }
    measure::everything(bench, &["parts".into(), "runs".into()]).await
}

/// The medians over repeats of a program that takes the same options as our `library`, and says the same.
async fn repeat(
    bench: &Bench,
    path: &PathBuf,
    before: &[&str],
    in_flight: u32,
    threads: u32,
) -> anyhow::Result<Figure> {
    let mut repeats = Vec::new();
    for _ in 0..bench.plan.repeats {
        let url = format!("http://{}/v1", bench.mock_at);
        let (in_flight, threads) = (in_flight.to_string(), threads.to_string());
        let millis = bench.plan.measure.as_millis().to_string();
        let options =
            ["--url", &url, "--in-flight", &in_flight, "--threads", &threads, "--millis", &millis];
        let arguments = before.iter().chain(&options).map(ToString::to_string).collect();
        let path = std::path::absolute(path)?;
        let program = Program { path: &path, arguments, vars: BTreeMap::new(), dir: &bench.dir };
        let output = program.output().await?;
        let line = output.lines().last().context("a peer said nothing")?;
        repeats.push(serde_json::from_str(line).context("a peer's figure cannot be read")?);
    }
    Ok(Figure::median(repeats))
}
