//! A mail server that takes everything and remembers it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) struct SmtpStub {
    port: u16,
    seen: Arc<Mutex<String>>,
    server: JoinHandle<()>,
}

impl Drop for SmtpStub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl SmtpStub {
    #[allow(clippy::disallowed_methods, reason = "it ends with the stub")]
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<String>>::default();
        let heard = seen.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = serve(stream, &heard).await;
            }
        });
        Self { port, seen, server }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, seen: &Mutex<String>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 stub\r\n").await?;
    let mut letter = false;
    while let Some(line) = lines.next_line().await? {
        seen.lock().unwrap().extend([line.as_str(), "\n"]);
        let answer: &[u8] = match (letter, line.as_str()) {
            (true, ".") => {
                letter = false;
                b"250 taken\r\n"
            }
            (true, _) => continue,
            (false, "DATA") => {
                letter = true;
                b"354 go on\r\n"
            }
            (false, "QUIT") => b"221 bye\r\n",
            (false, _) => b"250 ok\r\n",
        };
        writer.write_all(answer).await?;
    }
    Ok(())
}
