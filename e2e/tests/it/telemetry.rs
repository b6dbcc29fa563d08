//! What operators see: traces across HTTP and NATS, logs that can be searched, metrics.

use std::time::Duration;

use e2e::{Fleet, Scene, sign};
use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, eventually_within};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_webhook_through_the_bus_into_the_run_and_is_exported() {
    let collector = Stub::start(|_| Answer::Raw(200, vec![], vec![])).await;
    let outside = Stub::start(|_| Answer::Json(200, json!({}))).await;
    let endpoint = collector.url();
    let fleet = Fleet::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await;
    let url = format!("{}/act", outside.url());
    let scene = Scene::make(
        &fleet.api(),
        &fleet.tenant,
        "traced",
        "read",
        &url,
        "secret-secret-8",
        &json!([]),
    )
    .await;

    let open =
        Api::at(fleet.url()).header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let fired =
        sign(&scene.signing_secret, "msg_1", "{}").send(&open, &scene.hook).await.expect(202);
    let run = scene.run_of(fired["delivery_id"].as_str().unwrap()).await;
    scene.until(&run, &["succeeded"]).await;

    let trace: Vec<u8> =
        (0..16).map(|n| u8::from_str_radix(&TRACE[n * 2..n * 2 + 2], 16).unwrap()).collect();
    for service in ["gateway", "eventsvc", "engine"] {
        let what = format!("a span of {service} in the trace");
        eventually_within(Duration::from_secs(20), &what, async || {
            let exported = collector.requests();
            let mut bodies = exported.iter().filter(|request| request.path == "/v1/traces");
            bodies
                .any(|r| holds(&r.body, service.as_bytes()) && holds(&r.body, &trace))
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_lines_with_ids_and_metrics_count_requests() {
    let fleet = Fleet::start(&[("SWITCHYARD_LOG", "debug,hyper=warn,sqlx=warn")]).await;
    let refused = fleet.api().header("x-request-id", "find-me-1").get("/v1/agents/agt_x").await;
    assert_eq!(refused.status, 404);

    let line = eventually_within(Duration::from_secs(10), "the request's log line", async || {
        let logs = fleet.logs();
        let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .into_iter()
            .find(|line| line.to_string().contains("find-me-1") && line["status"] == 404)
    })
    .await;
    let text = line.to_string();
    for part in [fleet.tenant.as_str(), "/v1/agents/{agent_id}", "engine"] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let metrics = Api::at(fleet.url()).get("/metrics").await;
    assert!(metrics.text.contains("http_requests_total"), "{}", metrics.text);
}

fn holds(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}
