//! `agentcore` as a program of its own would use it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentcore::{Agent, FnTool, RunError, RunResult, Swarm, models::openai::OpenAi, run};
use anyhow::Context as _;
use futures::{StreamExt as _, stream::FuturesUnordered};
use serde_json::{Value, json};

use crate::{
    bench::Bench,
    figure::{Figure, Sample},
    proc::{Processes, cpu_each, resident_mb},
};

/// What is run again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// An agent that asks the mock model over HTTP, calls a tool, and asks again.
    Mock,
    /// The same on the simulated model, within the process.
    Sim,
    /// A swarm of three on the simulated model: one, and then two at the same time.
    Swarm,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Mock => "mock",
            Self::Sim => "sim",
            Self::Swarm => "swarm",
        }
    }
}

/// The medians over repeats, each a process of its own.
pub(crate) async fn repeat(
    bench: &Bench,
    what: What,
    in_flight: u32,
    threads: u32,
) -> anyhow::Result<Figure> {
    let mut repeats = Vec::new();
    for _ in 0..bench.plan.repeats {
        let url = format!("http://{}/v1", bench.mock_at);
        let (in_flight, threads) = (in_flight.to_string(), threads.to_string());
        let millis = bench.plan.measure.as_millis().to_string();
        let arguments = [
            "library",
            "--what",
            what.word(),
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

/// Runs it again and again, so many at once, on the runtime of the caller.
pub(crate) async fn load(
    what: What,
    url: &str,
    in_flight: u32,
    threads: u32,
    millis: u64,
) -> anyhow::Result<Figure> {
    let agent = match what {
        What::Mock => Runner::Agent(agent(Some(url))?),
        What::Sim => Runner::Agent(agent(None)?),
        What::Swarm => Runner::Swarm(swarm()?),
    };
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

#[derive(Clone)]
enum Runner {
    Agent(Agent),
    Swarm(Swarm),
}

impl Runner {
    async fn run(&self) -> Result<RunResult, RunError> {
        let input = "What is the state of things?";
        match self {
            Self::Agent(agent) => run(agent, input).await,
            Self::Swarm(swarm) => run(swarm, input).await,
        }
    }

    /// What the model says before the run has ended.
    fn steps(&self) -> u32 {
        match self {
            Self::Agent(_) => 2,
            Self::Swarm(_) => 3,
        }
    }
}

fn swarm() -> anyhow::Result<Swarm> {
    let member = |name: &str| Agent::builder(name).model("sim:echo").build();
    let members = [member("one")?, member("two")?, member("three")?];
    Ok(Swarm::builder().agents(members).flow("one >> (two | three)").build()?)
}

/// On the mock model at an address, or on the simulated one.
fn agent(url: Option<&str>) -> anyhow::Result<Agent> {
    let parameters = json!({ "type": "object", "properties": { "text": { "type": "string" } },
        "required": ["text"], "additionalProperties": false });
    let tool = FnTool::new("look_up", "Looks something up.", parameters, async |_: Value| {
        Ok(r#"{"ok":true}"#)
    });
    let builder = match url {
        // It calls the first tool once, then says what that said.
        None => Agent::builder("worker").model("sim:demo"),
        Some(url) => {
            let http = servicekit::peer::internal_http()?;
            let model = OpenAi::new(http, url.parse()?, Some("sk-bench".into()));
            Agent::builder("worker").model("openai:mock").provider(Arc::new(model))
        }
    };
    let builder = builder.instructions("Look it up, then answer in one sentence.");
    Ok(builder.tool(tool).build()?)
}

/// One task per thread, each with its share of the runs.
async fn work(
    agent: &Runner,
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

async fn one_after_the_other(agent: &Runner, until: Instant) -> Sample {
    let mut sample = Sample::default();
    while Instant::now() < until {
        let sent = Instant::now();
        match agent.run().await {
            Ok(result) if result.steps == agent.steps() => sample.answered(sent),
            Ok(result) => sample.failed(format!("{} steps", result.steps)),
            Err(error) => sample.failed(error.to_string()),
        }
    }
    sample
}
