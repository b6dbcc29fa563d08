use serde_json::json;
use servicekit::Minter;
use shared_models::{RunId, Service};

use super::{parts, scene::Scene};
use crate::{
    bench::Bench,
    fleet::{Fleet, text},
    load::{Answer, Traffic, request},
};

const CONNECTIONS: [u32; 2] = [1, 32];

/// Leases of a secret at credsvc's door, as the engine asks for them: each for a run of its own, all of one tenant, each in
/// the audit before it is answered. First with the tenant's key in memory, then with a credsvc that keeps none. Beside
/// them the least that it could be: the row, and one opening.
pub(super) async fn measure(
    bench: &mut Bench,
    fleet: &mut Fleet,
    scene: &Scene,
) -> anyhow::Result<()> {
    let asked = granted(bench, fleet, scene).await?;
    for connections in CONNECTIONS {
        parts::select(bench, fleet, connections, true).await?;
    }
    leases(bench, fleet, scene, &asked, "lease of a credential").await?;
    let without = [("SWITCHYARD_KEY_CACHE_SECONDS", "0")];
    fleet.restart_with(Service::Credsvc, bench.mock_at, &without).await?;
    leases(bench, fleet, scene, &asked, "lease of a credential, tenant key not in memory").await?;
    fleet.restart_with(Service::Credsvc, bench.mock_at, &[]).await
}

async fn leases(
    bench: &mut Bench,
    fleet: &Fleet,
    scene: &Scene,
    (path, body): &(String, Vec<u8>),
    what: &str,
) -> anyhow::Result<()> {
    let minter = Minter::new(fleet.signing_key(Service::Engine)?);
    let processes = fleet.processes();
    for connections in CONNECTIONS {
        let name = format!("{what}, {connections} connections");
        crate::progress(&name);
        let make = |count| Leases {
            requests: (0..count).map(|_| lease(&minter, scene, path, body)).collect(),
        };
        let door = (fleet.door(Service::Credsvc), connections as usize);
        let figure = bench.measure(door, bench.plan, &processes, make, async |f| Ok(f)).await?;
        bench.report.row("credentials", &name, figure);
    }
    Ok(())
}

/// A credential that an agent may use: where it is leased, and with what request.
async fn granted(bench: &Bench, fleet: &Fleet, scene: &Scene) -> anyhow::Result<(String, Vec<u8>)> {
    let api = &fleet.api;
    let credential = json!({ "name": "bench", "credentials": { "api_key": "s3cret" } });
    let made = api.post(&format!("/tenant/{}/credentials", scene.tenant), &credential).await?;
    let credential = text(&made, "credential_id")?;
    let tool = json!({
        "name": "with_key", "description": "Uses a key.", "kind": "http",
        "parameters": { "type": "object", "properties": {} },
        "config": { "method": "POST", "url": format!("http://{}/tool", bench.mock_at),
            "credential": { "in": "header", "name": "x-key", "field": "api_key" } },
    });
    let tool = text(&api.post("/v1/tools", &tool).await?, "tool_id")?;
    let agent = api.agent("leaser", "mock", None).await?;
    let link = json!({ "credential_id": credential });
    api.put(&format!("/v1/agents/{}/tools/{tool}", agent.id), &link).await?;
    let body = json!({ "grantee": { "kind": "agent", "id": agent.id }, "owner": scene.user,
        "purpose": "tool:with_key", "host": "127.0.0.1" });
    Ok((format!("/internal/credentials/{credential}/resolve"), body.to_string().into_bytes()))
}

fn lease(minter: &Minter, scene: &Scene, path: &str, body: &[u8]) -> Vec<u8> {
    let run = Some(RunId::mint());
    let token = minter.service_token(Service::Credsvc, scene.tenant, "tool:with_key", run);
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    request("POST", path, &headers, body)
}

struct Leases {
    requests: Vec<Vec<u8>>,
}

impl Traffic for Leases {
    fn write(&self, n: usize, request: &mut Vec<u8>) {
        request.extend_from_slice(self.requests.get(n).map_or(&[], Vec::as_slice));
    }

    fn wrong(&self, answer: &Answer<'_>) -> Option<String> {
        answer.unless(200, "s3cret")
    }
}
