use std::net::SocketAddr;

use serde_json::json;
use shared_models::Service;

use super::{memory, scene::Scene};
use crate::{
    bench::Bench,
    fleet::{Agent, Fleet, Settled},
    load::{Same, request},
};

/// Runs started over HTTP and waited for, each two model calls and one tool call over HTTP.
pub(super) async fn measure(bench: &mut Bench, fleet: &Fleet, scene: &Scene) -> anyhow::Result<()> {
    let rows = [
        (Service::Engine, "idempotent", &scene.worker, 1),
        (Service::Engine, "idempotent", &scene.worker, 64),
        (Service::Engine, "idempotent", &scene.worker, 256),
        (Service::Engine, "unsafe", &scene.careful, 1),
        (Service::Engine, "unsafe", &scene.careful, 64),
        (Service::Gateway, "idempotent", &scene.worker, 1),
        (Service::Gateway, "idempotent", &scene.worker, 64),
    ];
    for (service, effect, agent, in_flight) in rows {
        let name = format!("{service} door, {effect} tool, {in_flight} in flight");
        crate::progress(&name);
        // Signed anew for each repeat: together they last longer than a token does.
        let signer = fleet.signing_key(Service::Gateway)?;
        let mut settled = Settled::new(fleet).await?;
        let processes = bench.with_mock(&fleet.processes());
        let door: SocketAddr = fleet.door(service);
        let make = |_| match service {
            Service::Gateway => start(agent, fleet.key()),
            _ => start(agent, &scene.signed(&signer, service)),
        };
        let figure = bench
            .measure((door, in_flight), bench.plan, &processes, make, async |figure| {
                settled.everything().await?;
                Ok(figure)
            })
            .await?;
        bench.report.row("durable runs", &name, figure);
        if (service, in_flight) == (Service::Engine, 256) {
            memory::now(bench, fleet, "right after 256 runs in flight");
        }
    }
    Ok(())
}

fn start(agent: &Agent, token: &str) -> Same {
    let body = json!({ "agent_id": agent.id, "input": "What is the state of things?", "wait": 30 });
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    let request = request("POST", "/v1/runs", &headers, body.to_string().as_bytes());
    Same { request, status: 200, contains: r#""status":"succeeded""# }
}
