//! Ports of servers that open theirs themselves, and open the same one again after they were killed.

use std::{
    net::{TcpListener, UdpSocket},
    sync::Mutex,
};

use localdeps::{Nats, NatsOptions};

/// Below these the system gives no port to anybody who asks for any, nor to connections that go out.
const BELOW: u16 = 32_000;
const FROM: u16 = 10_000;
/// Somebody who is no test may have opened it just now.
const ATTEMPTS: usize = 5;

/// The same ports of UDP, which nobody else uses: a sign to other tests that one is taken, for as long as this process lives.
static TAKEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A port that is free, and that nobody is given by chance before its server opens it, or while that restarts.
pub fn free_port() -> u16 {
    loop {
        let address = ("127.0.0.1", rand::random_range(FROM..BELOW));
        let Ok(sign) = UdpSocket::bind(address) else { continue };
        if TcpListener::bind(address).is_ok() {
            TAKEN.lock().expect("no poisoned lock").push(sign);
            return address.1;
        }
    }
}

/// Starts a NATS server that will find its port free whenever it restarts.
pub async fn start_nats(options: NatsOptions) -> Nats {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let options = NatsOptions { port: Some(free_port()), ..options.clone() };
        match Nats::start(options).await {
            Ok(nats) => return nats,
            Err(error) => last = Some(error),
        }
    }
    panic!("nats-server does not start: {last:?}")
}
