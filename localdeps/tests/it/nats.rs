use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;

use localdeps::{Home, Nats};

const ONE_USER: &str = "authorization { user: alice, password: \"s3cret\" }";

/// Logs in by hand and returns what the server says to a ping.
fn ping(port: u16, login: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"max_payload\":2097152"));
    write!(stream, "CONNECT {{\"verbose\":false,{login}}}\r\nPING\r\n").unwrap();
    lines.next().unwrap().unwrap()
}

#[tokio::test]
async fn nats_answers_only_those_with_the_password_and_comes_back_after_a_crash() {
    let home = Home::temporary().unwrap();
    let mut nats = Nats::start(home.nats(ONE_USER)).await.unwrap();
    let config = home.state().join("nats/nats.conf").metadata().unwrap();
    assert_eq!(config.mode() & 0o777, 0o600, "the configuration holds passwords");

    let alice = "\"user\":\"alice\",\"pass\":\"s3cret\"";
    assert_eq!(ping(nats.port(), alice), "PONG");
    assert!(ping(nats.port(), "\"user\":\"alice\",\"pass\":\"guess\"").starts_with("-ERR"));
    assert!(ping(nats.port(), "\"lang\":\"none\"").starts_with("-ERR"));

    let (port, pid) = (nats.port(), nats.pid());
    nats.kill().await;
    assert!(!nats.is_running());
    nats.restart().await.unwrap();

    assert_eq!((nats.port(), ping(port, alice).as_str()), (port, "PONG"));
    assert_ne!(nats.pid(), pid);
}

#[tokio::test]
async fn a_configuration_that_nats_refuses_is_reported_with_its_reason() {
    let home = Home::temporary().unwrap();
    let refused = Nats::start(home.nats("authorization { nonsense")).await.unwrap_err();
    assert!(refused.to_string().contains("Parse error"), "{refused}");
}
