//! The benchmark's agent on rig: one tool, two model calls. Takes the options of `bench library` and says a figure in the
//! same form.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, stream::FuturesUnordered};
use rig::{prelude::*, providers::openai::OpenAIConfig};
use serde::Deserialize;
use serde_json::{Value, json};

struct LookUp;

#[derive(Deserialize)]
struct Arguments {
    text: String,
}

impl Tool for LookUp {
    const NAME: &'static str = "look_up";
    type Args = Arguments;
    type Output = String;
    type Error = Infallible;

    fn description(&self) -> String {
        "Looks something up.".into()
    }

    fn parameters(&self) -> Value {
        json!({ "type": "object", "properties": { "text": { "type": "string" } },
            "required": ["text"], "additionalProperties": false })
    }

    async fn call(&self, _: &mut ToolContext, arguments: Arguments) -> Result<String, Infallible> {
        std::hint::black_box(arguments.text);
        Ok(r#"{"ok":true}"#.into())
    }
}

struct Options {
    url: String,
    in_flight: usize,
    threads: usize,
    millis: u64,
    streaming: bool,
}

fn main() -> anyhow::Result<()> {
    let options = options()?;
    let runtime = if options.threads == 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?
    } else {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(options.threads).enable_all().build()?
    };
    runtime.block_on(load(&options))
}

fn options() -> anyhow::Result<Options> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let streaming = words.first().is_some_and(|word| word == "--streaming");
    if streaming {
        words.remove(0);
    }
    let find = |name: &str| {
        let place = words.iter().position(|word| word == name);
        let value = place.and_then(|place| words.get(place + 1));
        value.with_context(|| format!("{name} is missing"))
    };
    Ok(Options {
        url: find("--url")?.clone(),
        in_flight: find("--in-flight")?.parse()?,
        threads: find("--threads")?.parse()?,
        millis: find("--millis")?.parse()?,
        streaming,
    })
}

async fn load(options: &Options) -> anyhow::Result<()> {
    let model = OpenAIConfig::new("sk-bench").with_base_url(&options.url).client().chat("mock");
    let agent = AgentBuilder::new(model)
        .preamble("Look it up, then answer in one sentence.")
        .temperature(1.0)
        .tool(LookUp)
        .default_max_turns(10)
        .build();
    work(&agent, options, Duration::from_millis(options.millis / 4)).await?;
    let (before, started) = (cpu_seconds(), Instant::now());
    let mut micros = work(&agent, options, Duration::from_millis(options.millis)).await?;
    let elapsed = started.elapsed().as_secs_f64();
    micros.sort_unstable();
    let percentile = |percent: f64| {
        let place = (percent / 100.0 * micros.len() as f64).ceil() as usize;
        micros.get(place.saturating_sub(1)).map(|micros| f64::from(*micros) / 1e3)
    };
    let cpu = (cpu_seconds() - before) * 1e3 / micros.len().max(1) as f64;
    let figure = json!({
        "per_second": micros.len() as f64 / elapsed,
        "p50_ms": percentile(50.0),
        "p99_ms": percentile(99.0),
        "count": micros.len(),
        "more": { "cpu runner ms": cpu, "memory MB": resident_mb() },
    });
    println!("{figure}");
    Ok(())
}

/// The same shape as ours: one task per thread, each with its share of the runs.
async fn work(agent: &Agent, options: &Options, time: Duration) -> anyhow::Result<Vec<u32>> {
    let until = Instant::now() + time;
    let tasks = options.threads.min(options.in_flight);
    let share = options.in_flight.div_ceil(options.threads);
    let mut working = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (agent, streaming) = (agent.clone(), options.streaming);
        working.spawn(async move {
            let loops = (0..share).map(|_| one_after_the_other(&agent, streaming, until));
            let mut loops: FuturesUnordered<_> = loops.collect();
            let mut micros = Vec::new();
            while let Some(seen) = loops.next().await {
                micros.extend(seen?);
            }
            anyhow::Ok(micros)
        });
    }
    let mut micros = Vec::new();
    while let Some(seen) = working.join_next().await {
        micros.extend(seen??);
    }
    Ok(micros)
}

async fn one_after_the_other(
    agent: &Agent,
    streaming: bool,
    until: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut micros = Vec::new();
    while Instant::now() < until {
        let sent = Instant::now();
        let question = agent.prompt("What is the state of things?");
        if streaming {
            let mut stream = question.stream();
            let mut last = None;
            while let Some(item) = stream.next().await {
                last = Some(item?);
            }
            ensure!(last.is_some(), "rig's stream was empty");
        } else {
            let answer = question.await?;
            ensure!(answer.output().contains("all is well"), "rig said: {}", answer.output());
        }
        micros.push(sent.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
    }
    Ok(micros)
}

/// Processor time so far, as the kernel counts it in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = rest.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
    fields.get(11..13).map_or(0.0, |times| times.iter().sum::<f64>() / 100.0)
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kilobytes.unwrap_or_default() / 1_024.0
}
