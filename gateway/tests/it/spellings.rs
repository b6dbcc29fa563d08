use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::world::World;

/// Sends a request line as it is, which no client library does.
async fn ask(address: SocketAddr, target: &str, key: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: internal\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (status, answer)
}

#[tokio::test]
async fn internal_routes_are_out_of_reach_in_every_spelling() {
    let world = World::start().await;

    for target in [
        "/internal/jwks",
        "/internal",
        "/INTERNAL/jwks",
        "/%69nternal/jwks",
        "//internal/jwks",
        "/./internal/jwks",
        "/v1/agents/../../internal/jwks",
        "/v1/agents/../internal/agents/agt_1",
        "/v1/agents/%2e%2e/%2e%2e/internal/jwks",
        "/v1/agents/..%2f..%2finternal/jwks",
        "/v1/agents/%2E./internal",
        "/v1/agents/.%2e/internal",
        "/v1/agents/%252e%252e/internal",
        "/v1/agents//internal/jwks",
        "/v1/agents/..\\..\\internal",
        "/v1/agents/..;/internal",
        "/v1/hooks/../../internal/deliveries/dlv_1/payload",
        "/v1/hooks/%2e%2e/%2e%2e/internal/deliveries/dlv_1/payload",
        "/v1/hooks/x/..",
        "http://internal/internal/jwks",
        "http://internal//v1/../internal/jwks",
        "/internal/members/usr_1?x=/v1/agents",
        "/tenant/../internal/credentials/crd_1/resolve",
        "/tenant/%2e%2e/credentials/../../internal/grants",
        "/docs/../internal/jwks",
        "/v1/agents/%00",
        "*",
    ] {
        let (status, answer) = ask(world.address, target, &world.key).await;
        assert!(matches!(status, 400 | 404), "{target}: {answer}");
    }

    for stub in [&world.credsvc, &world.eventsvc, &world.engine] {
        let reached: Vec<_> = stub.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(reached, [] as [String; 0]);
    }
    let (status, answer) = ask(world.address, "/v1/agents/../x", &world.key).await;
    assert!(status == 400 && answer.contains("suspicious_path"), "{answer}");
    assert!(
        answer.contains("application/problem+json") && answer.contains("x-request-id"),
        "{answer}"
    );
}
