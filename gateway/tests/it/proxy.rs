use std::time::Duration;

use http::Method;
use serde_json::json;
use shared_models::Service;

use crate::world::World;

#[tokio::test]
async fn every_path_goes_to_its_service_and_nothing_else_goes_anywhere() {
    let world = World::start().await;
    let tenant = world.home.tenant_id;
    for (path, service) in [
        ("/agent/agt_1/trigger", "eventsvc"),
        ("/agent/agt_1/triggers/trg_1", "eventsvc"),
        ("/triggers/trg_1", "eventsvc"),
        ("/v1/triggers?limit=1", "eventsvc"),
        ("/v1/deliveries/dlv_1/replay", "eventsvc"),
        ("/v1/events", "eventsvc"),
        (&format!("/tenant/{tenant}/credentials"), "credsvc"),
        (&format!("/tenant/{tenant}/credentials/crd_1?user_id=u"), "credsvc"),
        ("/v1/credential-audit", "credsvc"),
        ("/v1/agents", "engine"),
        ("/v1/tools/tool_1", "engine"),
        ("/v1/runs/run_1/events", "engine"),
        ("/v1/approvals/apr_1/approve", "engine"),
        ("/v1/models", "engine"),
        ("/v1/model-settings/mdl_1", "engine"),
        ("/v1/prices", "engine"),
        ("/v1/usage", "engine"),
        ("/v1/chat/completions", "engine"),
        ("/v1/embeddings", "engine"),
        ("/v1/conversations/cnv_1/messages", "engine"),
        ("/v1/webhook-endpoints/whe_1/deliveries", "engine"),
    ] {
        let reply = world.owner.get(path).await.expect(201);
        let wanted = path.split('?').next().unwrap();
        assert_eq!(reply, json!({ "service": service, "path": wanted, "bytes": 0 }), "{path}");
    }
    for path in [
        "/agent/agt_1",
        "/agent/agt_1/x",
        "/tenant",
        "/tenant/x/y",
        "/v1",
        "/v2/agents",
        "/V1/agents",
        "/x",
    ] {
        assert_eq!(world.owner.get(path).await.refusal(), (404, "not_found"), "{path}");
    }
    assert_eq!(world.owner.delete("/v1/me").await.refusal(), (405, "method_not_allowed"));
}

#[tokio::test]
async fn services_see_our_word_for_who_calls_and_not_the_clients() {
    let world = World::start().await;
    let api = world
        .owner
        .header("x-subject-token", "forged")
        .header("x-forwarded-for", "6.6.6.6")
        .header("forwarded", "for=6.6.6.6")
        .header("x-switchyard-tenant", "forged")
        .header("x-tenant-id", &world.home.tenant_id.to_string())
        .header("te", "trailers")
        .header("keep-alive", "timeout=5")
        .header("proxy-authorization", "Basic x")
        .header("x-custom", "kept")
        .header("x-request-id", "my-request")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("baggage", "a=b");

    let reply = api.post("/v1/runs?a=1&b=%20", &json!({ "input": "x" })).await;

    assert_eq!(
        (reply.status, reply.header("etag"), reply.header("x-hop")),
        (201, Some("\"1\""), None)
    );
    assert_eq!(reply.header("x-request-id"), Some("my-request"));
    let seen = world.engine.requests().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.query.as_str()), ("POST", "a=1&b=%20"));
    assert_eq!(seen.json(), json!({ "input": "x" }));
    for gone in [
        "x-subject-token",
        "x-switchyard-tenant",
        "x-tenant-id",
        "te",
        "keep-alive",
        "proxy-authorization",
        "baggage",
    ] {
        assert_eq!(seen.header(gone), "", "{gone}");
    }
    assert_eq!(seen.header("x-custom"), "kept");
    assert_eq!(seen.header("x-request-id"), "my-request");
    assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen.header("x-forwarded-host"), world.address.to_string());
    assert!(seen.header("forwarded").starts_with("for=127.0.0.1;proto=http;host="));
    let trace = seen.header("traceparent");
    assert!(
        trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")
            && !trace.contains("00f067aa0ba902b7"),
        "{trace}"
    );
    assert!(!seen.header("authorization").contains(&world.key));
    let claims = world.claims(Service::Engine, "/v1/runs").await;
    assert_eq!((claims.aud, claims.iss), (Service::Engine, Service::Gateway));
}

#[tokio::test]
async fn a_token_is_made_per_service_and_used_again() {
    let world = World::start().await;
    for path in ["/v1/runs", "/v1/runs", "/v1/triggers"] {
        world.owner.get(path).await.expect(201);
    }

    let tokens: Vec<String> = world
        .engine
        .requests()
        .iter()
        .map(|seen| seen.header("authorization").to_owned())
        .collect();
    assert_eq!(tokens[0], tokens[1]);
    assert_ne!(world.eventsvc.requests()[0].header("authorization"), tokens[0]);
}

#[tokio::test]
async fn a_hook_needs_no_key_and_keeps_its_own_credentials() {
    let world = World::start().await;

    world
        .public
        .header("authorization", "Basic aGk6dGhlcmU=")
        .post("/v1/hooks/trg_1", &json!({}))
        .await
        .expect(201);
    world.public.post("/v1/hooks/trg_1", &json!({})).await.expect(201);
    let forged =
        world.public.header("x-subject-token", "forged").header("webhook-signature", "v1,x");
    forged.post("/v1/hooks/trg_1", &json!({})).await.expect(201);

    let seen = world.eventsvc.requests();
    assert_eq!(seen[0].header("authorization"), "Basic aGk6dGhlcmU=");
    assert_eq!(seen[1].header("authorization"), "");
    assert_eq!(
        (seen[2].header("x-subject-token"), seen[2].header("webhook-signature")),
        ("", "v1,x")
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_is_sent() {
    let world = World::with(|config| config.limits.body = 1000).await;
    let api = world.owner.header("content-type", "application/json");

    api.raw(Method::POST, "/v1/runs", vec![b'1'; 1000]).await.expect(201);
    let refused = api.raw(Method::POST, "/v1/runs", vec![b'1'; 1001]).await;
    assert_eq!(refused.refusal(), (413, "payload_too_large"));
    let refused = world.public.raw(Method::POST, "/v1/hooks/x", vec![b'1'; 1001]).await;
    assert_eq!(refused.refusal(), (413, "payload_too_large"));

    let http = servicekit::peer::internal_http().unwrap();
    let pieces = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![b'1'; 100])));
    let chunked = http
        .post(format!("http://{}/v1/runs", world.address))
        .bearer_auth(&world.key)
        .body(reqwest::Body::wrap_stream(pieces))
        .send()
        .await
        .unwrap();
    assert_eq!(chunked.status(), 413);
    assert!(chunked.text().await.unwrap().contains("payload_too_large"));
}

#[tokio::test]
async fn a_service_that_is_down_or_breaks_off_is_a_503_that_says_when_to_come_back() {
    let world = World::with(|config| {
        config.upstreams.credsvc = "http://127.0.0.1:9".parse().unwrap();
        config.limits.upstream_timeout = Duration::from_secs(2);
    })
    .await;

    let down = world.owner.get("/v1/credential-audit").await;
    assert_eq!((down.refusal(), down.header("retry-after")), ((503, "unavailable"), Some("1")));
    assert_eq!(down.header("content-type"), Some("application/problem+json"));
    assert_eq!(down.body["detail"], "credsvc is not available");
    let broken = world.owner.post("/v1/runs/reset", &json!({})).await;
    assert_eq!(broken.refusal(), (503, "unavailable"));
    let silent = world.owner.get("/v1/runs/never").await;
    assert_eq!(silent.refusal(), (504, "upstream_timeout"));
}
