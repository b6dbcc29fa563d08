//! `agentcore` as a program of its own would use it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentcore::{Agent, FnTool, models::openai::OpenAi, run};
use anyhow::Context as _;
use futures::{StreamExt as _, stream::FuturesUnordered};
use serde_json::{Value, json};

use crate::{
    bench::Bench,
    figure::{Figure, Sample},
    proc::{Processes, cpu_each, resident_mb},
};

/// The medians over repeats, each a process of its own.
pub(crate) async fn repeat(bench: &Bench, in_flight: u32, threads: u32) -> anyhow::Result<Figure> {
    let mut repeats = Vec::new();
    for _ in 0..bench.plan.repeats {
        let url = format!("http://{}/v1", bench.mock_at);
        let (in_flight, threads) = (in_flight.to_string(), threads.to_string());
        let millis = bench.plan.measure.as_millis().to_string();
        let arguments = [
            "library",
            "--url",
            &url,
            "--in-flight",
            &in_flight,
            "--threads",
            &threads,
            "--millis",
            &millis,
        ];
        repeats.push(bench.told(arguments.map(str::to_owned).to_vec()).await?);
    }
    Ok(Figure::median(repeats))
}

/// Runs the agent again and again, so many at once, on the runtime of the caller.
pub(crate) async fn load(
    url: &str,
    in_flight: u32,
    threads: u32,
    millis: u64,
) -> anyhow::Result<Figure> {
    let agent = agent(url)?;
    let warm = Instant::now() + Duration::from_millis(millis / 4);
    work(&agent, in_flight, threads, warm).await?;

    let mut processes = Processes::default();
    processes.add("runner", std::process::id());
    let (before, started) = (processes.cpu(), Instant::now());
    let mut sample =
        work(&agent, in_flight, threads, started + Duration::from_millis(millis)).await?;
    sample.elapsed = started.elapsed();
    let costs = cpu_each(&before, &processes.cpu(), sample.latencies.len() as u64);
    let mut figure = sample.figure();
    figure.more.extend(costs);
    figure.more.remove("cpu all ms");
    Ok(figure.with("memory MB", resident_mb(std::process::id()).unwrap_or_default()))
}

fn agent(url: &str) -> anyhow::Result<Arc<Agent>> {
    let parameters = json!({ "type": "object", "properties": { "text": { "type": "string" } },
        "required": ["text"], "additionalProperties": false });
    let tool = FnTool::new("look_up", "Looks something up.", parameters, async |_: Value| {
        Ok(r#"{"ok":true}"#)
    });
    let http = servicekit::peer::internal_http()?;
    let model = OpenAi::new(http, url.parse()?, Some("sk-bench".into()));
    let builder = Agent::builder("worker").model("openai:mock").provider(Arc::new(model));
    let builder = builder.instructions("Look it up, then answer in one sentence.");
    Ok(Arc::new(builder.tool(tool).build()?))
}

/// One task per thread, each with its share of the runs.
async fn work(
    agent: &Arc<Agent>,
    in_flight: u32,
    threads: u32,
    until: Instant,
) -> anyhow::Result<Sample> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..threads.min(in_flight) {
        let (agent, share) = (agent.clone(), in_flight.div_ceil(threads));
        tasks.spawn(async move {
            let loops = (0..share).map(|_| one_after_the_other(&agent, until));
            let mut loops: FuturesUnordered<_> = loops.collect();
            let mut sample = Sample::default();
            while let Some(seen) = loops.next().await {
                sample.add(seen);
            }
            sample
        });
    }
    let mut sample = Sample::default();
    while let Some(seen) = tasks.join_next().await {
        sample.add(seen.context("a task ended early")?);
    }
    Ok(sample)
}

async fn one_after_the_other(agent: &Agent, until: Instant) -> Sample {
    let mut sample = Sample::default();
    while Instant::now() < until {
        let sent = Instant::now();
        match run(agent, "What is the state of things?").await {
            Ok(result) if result.steps == 2 => sample.answered(sent),
            Ok(result) => sample.failed(format!("{} steps", result.steps)),
            Err(error) => sample.failed(error.to_string()),
        }
    }
    sample
}
