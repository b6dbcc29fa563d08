use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::ensure;
use serde_json::{Value, json};
use shared_models::Service;
use tokio::task::JoinSet;

use super::{memory, scene::Scene};
use crate::{
    bench::Bench,
    figure::Figure,
    fleet::{Agent, Fleet, Settled},
    load::{Connection, request},
    mock::drip::micros_now,
    words::Words,
};

/// Milliseconds between two words of one stream.
const PACE: u64 = 200;

/// How old a word is when a viewer sees it, with so many streams open: straight from the model, and through us.
pub(super) async fn measure(bench: &mut Bench, fleet: &Fleet, scene: &Scene) -> anyhow::Result<()> {
    let streams = if bench.quick { 50 } else { 1_000 };
    // Opening them takes a while, and all have to be open for as long as is measured.
    let seconds = bench.plan.measure.as_secs() + if bench.quick { 4 } else { 20 };
    let model = format!("drip-{}-{PACE}", seconds * 1_000 / PACE);
    let agent = fleet.api.agent("teller", &model, None).await?;

    crate::progress(&format!("{streams} streams straight from the model"));
    let asked = ask(&model);
    let direct: Vec<_> = (0..streams).map(|_| (bench.mock_at, asked.clone())).collect();
    let direct = watch(bench, fleet, direct, None).await?;
    bench.report.row(
        "live streams",
        &format!("{streams} streams, straight from the model"),
        direct.clone(),
    );

    for service in [Service::Engine, Service::Gateway] {
        let name = format!("{streams} streams, {service} door");
        crate::progress(&name);
        let token = match service {
            Service::Gateway => fleet.key().to_owned(),
            _ => scene.token(fleet, service)?,
        };
        let door = fleet.door(service);
        let runs = start(door, &token, &agent, streams).await?;
        let follow = runs.iter().map(|run| (door, follow(run, &token))).collect();
        let figure = watch(bench, fleet, follow, Some(&name)).await?;
        let added = |ours: Option<f64>, theirs: Option<f64>| {
            ours.unwrap_or(f64::NAN) - theirs.unwrap_or_default()
        };
        let figure = figure
            .clone()
            .with("added p50 ms", added(figure.p50_ms, direct.p50_ms))
            .with("added p99 ms", added(figure.p99_ms, direct.p99_ms));
        bench.report.row("live streams", &name, figure);
        if service == Service::Engine {
            memory::now(bench, fleet, &format!("right after {streams} open streams"));
        }
        Settled::new(fleet).await?.everything().await?;
    }
    Ok(())
}

/// Opens all streams, and then looks at every word for as long as the plan says.
async fn watch(
    bench: &Bench,
    fleet: &Fleet,
    streams: Vec<(SocketAddr, Vec<u8>)>,
    ours: Option<&str>,
) -> anyhow::Result<Figure> {
    let (count, measure) = (streams.len(), bench.plan.measure);
    let mut open = Vec::with_capacity(count);
    for (door, request) in streams {
        let mut connection = Connection::open(door).await?;
        let status = connection.begin(&request).await?;
        ensure!(status == 200, "a stream was answered {status}");
        open.push(connection);
    }
    // Words from before all were open do not count, nor do those that greet a viewer who came late.
    let from = micros_now() + 500_000;
    let until = from + measure.as_micros() as u64;
    let processes = bench.with_mock(&fleet.processes());
    let before = processes.cpu();
    let mut viewers = JoinSet::new();
    for connection in open {
        viewers.spawn(view(connection, from, until));
    }
    let (mut ages, mut ended) = (Vec::new(), 0);
    while let Some(seen) = viewers.join_next().await {
        let (seen, early) = seen??;
        ended += usize::from(early);
        ages.extend(seen);
    }
    ensure!(ended == 0, "{ended} of {count} streams ended early{}", ours.map_or("", |_| " (ours)"));
    let words = ages.len() as u64;
    let mut figure = Figure::of_latencies(ages);
    figure.per_second = Some(words as f64 / measure.as_secs_f64());
    figure.more.extend(crate::proc::cpu_each(&before, &processes.cpu(), words));
    Ok(figure)
}

/// The ages of the words said in a time, in microseconds; and whether the stream ended before that was over.
async fn view(
    mut connection: Connection,
    from: u64,
    until: u64,
) -> anyhow::Result<(Vec<u32>, bool)> {
    let (mut words, mut ages) = (Words::default(), Vec::new());
    let left = Duration::from_micros(until.saturating_sub(micros_now()));
    let reading = async {
        while let Some(piece) = connection.piece().await? {
            let now = micros_now();
            words.read(piece, |said| {
                if (from..until).contains(&said) {
                    ages.push(now.saturating_sub(said).try_into().unwrap_or(u32::MAX));
                }
            });
        }
        anyhow::Ok(())
    };
    let early = match tokio::time::timeout(left, reading).await {
        Ok(ended) => ended.map(|()| true)?,
        Err(_) => false,
    };
    Ok((ages, early))
}

/// Starts so many runs; gives their ids.
async fn start(
    door: SocketAddr,
    token: &str,
    agent: &Agent,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    const AT_ONCE: usize = 16;
    let body = json!({ "agent_id": agent.id, "input": "Tell me." }).to_string();
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    let asked: Arc<Vec<u8>> = request("POST", "/v1/runs", &headers, body.as_bytes()).into();
    let mut starters = JoinSet::new();
    for place in 0..AT_ONCE {
        let (asked, share) = (asked.clone(), (count + place) / AT_ONCE);
        starters.spawn(async move {
            let mut connection = Connection::open(door).await?;
            let mut runs = Vec::new();
            for _ in 0..share {
                let answer = connection.exchange(&asked).await?;
                let made: Value = serde_json::from_slice(answer.body)?;
                runs.push(crate::fleet::text(&made, "run_id")?);
            }
            anyhow::Ok(runs)
        });
    }
    let mut runs = Vec::with_capacity(count);
    while let Some(started) = starters.join_next().await {
        runs.extend(started??);
    }
    Ok(runs)
}

fn follow(run: &str, token: &str) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization), ("accept", "text/event-stream")];
    request("GET", &format!("/v1/runs/{run}/events"), &headers, b"")
}

fn ask(model: &str) -> Vec<u8> {
    let body = json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": "Tell." }] });
    let headers = [("content-type", "application/json")];
    request("POST", "/v1/chat/completions", &headers, body.to_string().as_bytes())
}
