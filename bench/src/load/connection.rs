//! One HTTP/1.1 connection, spoken by hand.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// An open connection and what has been read of it.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    /// How much of `read` the last answer took.
    taken: usize,
    body: Vec<u8>,
    /// What is still to come of the chunk at hand, of an answer without end.
    left: usize,
}

/// An answer, until the next request.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// What is wrong, unless it has this status and this text in its body.
    pub(crate) fn unless(&self, status: u16, contains: &str) -> Option<String> {
        if self.status != status {
            let body = String::from_utf8_lossy(self.body.get(..200).unwrap_or(self.body));
            return Some(format!("{} {body}", self.status));
        }
        let found =
            self.body.windows(contains.len().max(1)).any(|part| part == contains.as_bytes());
        (!found && !contains.is_empty()).then(|| format!("{status} without `{contains}`"))
    }
}

/// What stands in an answer's head.
struct Head {
    status: u16,
    length: usize,
    body: Body,
}

enum Body {
    Sized(usize),
    Chunked,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(8_192), taken: 0, body: Vec::new(), left: 0 })
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.read.drain(..self.taken);
        self.taken = 0;
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        match head.body {
            Body::Sized(size) => {
                while self.read.len() < head.length + size {
                    self.more().await?;
                }
                self.taken = head.length + size;
                Ok(Answer { status: head.status, body: &self.read[head.length..self.taken] })
            }
            Body::Chunked => {
                self.body.clear();
                let mut at = head.length;
                while let Some(next) = self.chunk(at).await? {
                    at = next;
                }
                Ok(Answer { status: head.status, body: &self.body })
            }
        }
    }

    /// Sends a request and reads the head of an answer without end; the rest comes by [`Connection::piece`].
    pub(crate) async fn begin(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        self.taken = head.length;
        Ok(head.status)
    }

    /// The next bytes of such an answer's body; none at its end. May be given up and called again.
    pub(crate) async fn piece(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.read.drain(..self.taken);
        self.taken = 0;
        loop {
            if self.left > 0 && !self.read.is_empty() {
                self.taken = self.left.min(self.read.len());
                self.left -= self.taken;
                return Ok(Some(&self.read[..self.taken]));
            }
            if self.left == 0 {
                // The end of the chunk before, if there was one.
                if self.read.starts_with(b"\r\n") {
                    self.read.drain(..2);
                }
                match httparse::parse_chunk_size(&self.read) {
                    Ok(httparse::Status::Complete((_, 0))) => return Ok(None),
                    Ok(httparse::Status::Complete((line, size))) => {
                        self.read.drain(..line);
                        self.left = size as usize;
                        continue;
                    }
                    Ok(httparse::Status::Partial) => {}
                    Err(_) => bail!("a chunk without a size"),
                }
            }
            self.more().await?;
        }
    }

    async fn head(&mut self) -> anyhow::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = response.parse(&self.read)? {
                let find = |name: &str| {
                    let header =
                        response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
                    header.and_then(|header| std::str::from_utf8(header.value).ok())
                };
                let body = match find("content-length") {
                    Some(size) => Body::Sized(size.parse()?),
                    None if find("transfer-encoding").is_some() => Body::Chunked,
                    None => Body::Sized(0),
                };
                return Ok(Head { status: response.code.unwrap_or(0), length, body });
            }
            self.more().await?;
        }
    }

    /// Reads the chunk that begins at `at`; says where the next one does, or that it was the last.
    async fn chunk(&mut self, at: usize) -> anyhow::Result<Option<usize>> {
        let (start, size) = loop {
            match httparse::parse_chunk_size(&self.read[at..]) {
                Ok(httparse::Status::Complete((line, size))) => break (at + line, size as usize),
                Ok(httparse::Status::Partial) => self.more().await?,
                Err(_) => bail!("a chunk without a size"),
            }
        };
        while self.read.len() < start + size + 2 {
            self.more().await?;
        }
        self.body.extend_from_slice(&self.read[start..start + size]);
        let end = start + size + 2;
        if size == 0 {
            self.taken = end;
            return Ok(None);
        }
        Ok(Some(end))
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }
}
