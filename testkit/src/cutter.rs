//! A connection that cannot be relied upon: a TCP proxy that ends every connection after a random number of bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A running proxy; stops when dropped.
pub struct Cutter {
    address: SocketAddr,
    cuts: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Cutter {
    /// Starts one in front of a server. Of what the server says on a connection at most `most` bytes come through, at least
    /// one; then it is closed or reset, in the middle of whatever is being said. `seed` decides where.
    pub async fn start(server: SocketAddr, most: u64, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = cuts.clone();
        #[allow(
            clippy::disallowed_methods,
            reason = "a test server has no lifecycle but its test's"
        )]
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut turns = seed;
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                turns = turns.wrapping_add(1);
                let drawn = scramble(turns);
                let (left, resets) = (1 + (drawn >> 1) % most, drawn & 1 == 1);
                let cuts = counted.clone();
                connections.spawn(async move {
                    // A client that goes away first is nothing to speak of.
                    if matches!(pass(client, server, left, resets).await, Ok(true)) {
                        cuts.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { address, cuts, server }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

/// Passes on what both sides say until the server has said so much; says whether it came to that.
async fn pass(
    client: TcpStream,
    server: SocketAddr,
    mut left: u64,
    resets: bool,
) -> std::io::Result<bool> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    if resets {
        client.set_zero_linger()?;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asks = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        // The server may still be answering.
        std::future::pending::<std::io::Result<bool>>().await
    };
    let answers = async {
        let mut bytes = [0; 1024];
        while left > 0 {
            let room = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = from_server.read(&mut bytes[..room]).await?;
            if read == 0 {
                return Ok(false);
            }
            to_client.write_all(&bytes[..read]).await?;
            left -= read as u64;
        }
        Ok(true)
    };
    tokio::select! {
        done = asks => done,
        done = answers => done,
    }
}

/// Splitmix64: numbers that look random, the same for the same seed.
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
