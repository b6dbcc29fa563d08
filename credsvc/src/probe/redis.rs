//! Logging in to a Redis server: three commands of its protocol (RESP2), in plaintext.

use secrecy::{ExposeSecret as _, SecretString};
use servicekit::egress::Egress;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{Said, address};
use crate::fields::Fields;

/// Connects, logs in, pings.
pub(super) async fn ping(egress: &Egress, fields: &Fields, hosts: &[String]) -> Said {
    let address = address(egress, fields, hosts, 6379).await?;
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let mut stream = BufReader::new(stream);
    if let Some(password) = fields.text("password") {
        let mut command = vec![SecretString::from("AUTH")];
        command.extend(fields.text("username"));
        command.push(password);
        ask(&mut stream, &command).await?;
    }
    if let Some(database) = fields.text("database") {
        ask(&mut stream, &["SELECT".into(), database]).await?;
    }
    ask(&mut stream, &["PING".into()]).await
}

async fn ask(stream: &mut BufReader<TcpStream>, command: &[SecretString]) -> Said {
    let mut text = format!("*{}\r\n", command.len());
    for part in command {
        let part = part.expose_secret();
        for piece in ["$", &part.len().to_string(), "\r\n", part, "\r\n"] {
            text.push_str(piece);
        }
    }
    stream.write_all(text.as_bytes()).await.map_err(|error| error.to_string())?;
    read(stream).await
}

/// A simple answer or an error is one line.
async fn read(stream: &mut BufReader<TcpStream>) -> Said {
    const LONGEST: u64 = 4096;
    let mut line = String::new();
    let mut limited = tokio::io::AsyncReadExt::take(stream, LONGEST);
    limited.read_line(&mut line).await.map_err(|error| error.to_string())?;
    match line.trim_end().split_at_checked(1) {
        Some(("+", said)) => Ok(said.to_owned()),
        Some(("-", said)) => Err(said.to_owned()),
        _ => Err("this is no Redis server".into()),
    }
}
