//! A session with an IMAP server (RFC 3501): the few commands that reading new mail takes, all of them without effect on
//! the mailbox.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use servicekit::egress::EgressError;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::response::{self, Broken, Response, number, quoted};
use crate::listening::{Ask, LookError};

const CONNECT: Duration = Duration::from_secs(10);
/// What a server may say in one look.
const ROOM: usize = 16 * 1024 * 1024;
/// What it may say to one command where only the bell is listened for.
const BELL_ROOM: usize = 64 * 1024;
/// Responses to one command.
const MOST_RESPONSES: usize = 10_000;

/// How the mailbox opens.
pub(super) enum Login {
    Password(String, SecretString),
    Token(String, SecretString),
}

impl Login {
    /// What the credential's fields say.
    pub(super) fn of(fields: &BTreeMap<String, SecretString>) -> Result<Self, LookError> {
        let missing = |name: &str| LookError::Credential(format!("it has no field `{name}`"));
        let user = fields.get("username").or_else(|| fields.get("email"));
        let user = user.ok_or_else(|| missing("username"))?.expose_secret().to_owned();
        match (fields.get("access_token"), fields.get("password")) {
            (Some(token), _) => Ok(Self::Token(user, token.clone())),
            (None, Some(password)) => Ok(Self::Password(user, password.clone())),
            (None, None) => Err(missing("password")),
        }
    }

    fn mechanism(&self) -> &'static str {
        match self {
            Self::Password(..) => "PLAIN",
            Self::Token(..) => "XOAUTH2",
        }
    }

    fn proof(&self) -> String {
        STANDARD.encode(match self {
            Self::Password(user, password) => format!("\0{user}\0{}", password.expose_secret()),
            Self::Token(user, token) => {
                format!("user={user}\u{1}auth=Bearer {}\u{1}\u{1}", token.expose_secret())
            }
        })
    }
}

/// A mailbox as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    /// How many messages there are.
    pub exists: u32,
    pub uid_validity: u32,
    pub uid_next: u32,
}

/// A message, or the beginning of a large one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub uid: u32,
    pub size: Option<u32>,
    pub arrived_at: Option<DateTime<Utc>>,
    pub body: Vec<u8>,
}

/// A connection.
pub(super) struct Session {
    stream: BufReader<TlsStream<TcpStream>>,
    room: usize,
    tag: u32,
}

impl Session {
    /// Connects to read mail.
    pub(super) async fn open(ask: &Ask, host: &str, port: u16) -> Result<Self, LookError> {
        Self::with_room(ask, host, port, ROOM).await
    }

    /// Connects to idle: there is no room for mail.
    pub(super) async fn open_to_idle(ask: &Ask, host: &str, port: u16) -> Result<Self, LookError> {
        Self::with_room(ask, host, port, BELL_ROOM).await
    }

    /// Connects to an address that may be reached, and to whom its certificate names.
    async fn with_room(ask: &Ask, host: &str, port: u16, room: usize) -> Result<Self, LookError> {
        let later = |why: String| LookError::Later(why, None);
        let address = ask.egress.resolve(host, port).await.map_err(|error| match error {
            EgressError::Denied(why) | EgressError::Misdirected(why) => LookError::Never(why),
            EgressError::Unreachable(why) | EgressError::Unknown(why) => later(why),
        })?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| LookError::Never(format!("`{host}` is not the name of a server")))?;
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            TlsConnector::from(ask.imap.0.clone()).connect(name, stream).await
        };
        let stream = tokio::time::timeout(CONNECT, connect)
            .await
            .map_err(|_| later(format!("{host} does not answer")))?
            .map_err(|error| later(format!("no connection to {host}: {error}")))?;
        let mut session = Self { stream: BufReader::new(stream), room, tag: 0 };
        let greeting = session.response().await?;
        if greeting.text.starts_with("* OK") || greeting.text.starts_with("* PREAUTH") {
            Ok(session)
        } else {
            Err(later("the server does not take anybody in now".into()))
        }
    }

    pub(super) async fn log_in(&mut self, login: &Login) -> Result<(), LookError> {
        self.send(&format!("AUTHENTICATE {}", login.mechanism())).await?;
        let mut told = self.response().await?;
        if told.text.starts_with('+') {
            self.write(&login.proof()).await?;
            told = self.response().await?;
            // What is wrong with a token comes in a challenge of its own, which wants an empty answer.
            if told.text.starts_with('+') {
                self.write("").await?;
                told = self.response().await?;
            }
        }
        while told.text.starts_with('*') {
            told = self.response().await?;
        }
        if status(&told.text, self.tag) == Some("OK") {
            Ok(())
        } else if told.text.contains("[UNAVAILABLE]") {
            Err(LookError::Later("the mail server cannot tell who may read now".into(), None))
        } else {
            Err(LookError::Credential("the mail server does not take it".into()))
        }
    }

    /// Opens a mailbox to read it only.
    pub(super) async fn examine(&mut self, mailbox: &str) -> Result<Mailbox, LookError> {
        let name = mailbox.replace('\\', "\\\\").replace('"', "\\\"");
        let told = self.command(&format!("EXAMINE \"{name}\"")).await?;
        let find = |word: &str| told.iter().find_map(|told| number(&told.text, word));
        // A server that does not say how many there are is believed to have many.
        let exists = told.iter().find_map(|told| exists(&told.text)).unwrap_or(u32::MAX);
        match (find("UIDVALIDITY"), find("UIDNEXT")) {
            (Some(uid_validity), Some(uid_next)) => Ok(Mailbox { exists, uid_validity, uid_next }),
            _ => Err(LookError::Never("the server does not number its messages".into())),
        }
    }

    /// Whether the server can say by itself that there is something.
    pub(super) async fn can_idle(&mut self) -> Result<bool, LookError> {
        let told = self.command("CAPABILITY").await?;
        let mut words = told.iter().flat_map(|told| told.text.split_ascii_whitespace());
        Ok(words.any(|word| word.eq_ignore_ascii_case("IDLE")))
    }

    /// Waits until the server says that there is something, for so long at most; says whether it did.
    /// It has so much patience with a server that shall say the rest, and come to an end.
    pub(super) async fn idle(
        &mut self,
        longest: Duration,
        patience: Duration,
    ) -> Result<bool, LookError> {
        // What one command may say is counted anew with each.
        self.room = BELL_ROOM;
        let silent = |_| broken(Broken::Silent);
        self.send("IDLE").await?;
        let until = Instant::now() + longest;
        let news = loop {
            // Only its beginning is waited for: whatever is said when the time is up is read whole, and lost never.
            match tokio::time::timeout_at(until, self.stream.fill_buf()).await {
                Err(_) => break false,
                Ok(Err(error)) => return Err(broken(Broken::Io(error))),
                Ok(Ok(_)) => {}
            }
            let told = tokio::time::timeout(patience, self.response()).await.map_err(silent)??;
            if is_news(&told.text) {
                break true;
            }
            if told.text.starts_with("* BYE") || status(&told.text, self.tag).is_some() {
                return Err(broken(Broken::End));
            }
        };
        let late = tokio::time::timeout(patience, self.done()).await.map_err(silent)??;
        Ok(news || late)
    }

    /// Ends an IDLE; says whether there was something still.
    async fn done(&mut self) -> Result<bool, LookError> {
        let mut news = false;
        self.write("DONE").await?;
        loop {
            let told = self.response().await?;
            match status(&told.text, self.tag) {
                Some("OK") => return Ok(news),
                Some(_) => return Err(broken(Broken::End)),
                None => news |= is_news(&told.text),
            }
        }
    }

    /// The messages after one, in order.
    pub(super) async fn search_after(&mut self, uid: u32) -> Result<Vec<u32>, LookError> {
        let from = uid.saturating_add(1);
        let mut found = self.search(&format!("UID {from}:*")).await?;
        // Where there is none, `*` is the last there is.
        found.retain(|found| *found > uid);
        Ok(found)
    }

    /// The messages after one, up to another, in order.
    pub(super) async fn search_between(
        &mut self,
        after: u32,
        to: u32,
    ) -> Result<Vec<u32>, LookError> {
        let mut found = self.search(&format!("UID {}:{to}", after.saturating_add(1))).await?;
        found.retain(|uid| (after + 1..=to).contains(uid));
        Ok(found)
    }

    /// The messages after one, up to another, that arrived on this day or later, in order.
    pub(super) async fn search_since(
        &mut self,
        since: DateTime<Utc>,
        after: u32,
        to: u32,
    ) -> Result<Vec<u32>, LookError> {
        let (from, day) = (after.saturating_add(1), since.format("%-d-%b-%Y"));
        if from > to {
            return Ok(Vec::new());
        }
        let mut found = self.search(&format!("UID {from}:{to} SINCE {day}")).await?;
        found.retain(|uid| (from..=to).contains(uid));
        Ok(found)
    }

    async fn search(&mut self, what: &str) -> Result<Vec<u32>, LookError> {
        let told = self.command(&format!("UID SEARCH {what}")).await?;
        let lists = told.iter().filter_map(|told| told.text.strip_prefix("* SEARCH"));
        let mut found: Vec<u32> = lists
            .flat_map(str::split_ascii_whitespace)
            .filter_map(|uid| uid.parse().ok())
            .collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// These messages, each up to so many bytes.
    pub(super) async fn fetch(
        &mut self,
        uids: &[u32],
        most: usize,
    ) -> Result<Vec<Fetched>, LookError> {
        let set: Vec<String> = uids.iter().map(u32::to_string).collect();
        let wanted = format!("(UID INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.{most}>)");
        let told = self.command(&format!("UID FETCH {} {wanted}", set.join(","))).await?;
        Ok(told.into_iter().filter_map(fetched).collect())
    }

    /// Says good-bye; whether anybody hears it does not matter.
    pub(super) async fn log_out(mut self) {
        if self.send("LOGOUT").await.is_ok() {
            let _ = self.stream.get_mut().shutdown().await;
        }
    }

    /// Sends a command and reads what is said until it is done.
    async fn command(&mut self, command: &str) -> Result<Vec<Response>, LookError> {
        self.send(command).await?;
        let mut told = Vec::new();
        while told.len() < MOST_RESPONSES {
            let response = self.response().await?;
            match status(&response.text, self.tag) {
                Some("OK") => return Ok(told),
                Some(_) => {
                    // What follows the tag is the server's own words.
                    let words: String = response.text.chars().skip(3).take(200).collect();
                    return Err(LookError::Later(format!("the mail server says: {words}"), None));
                }
                None if response.text.starts_with("* BYE") => return Err(broken(Broken::End)),
                None => told.push(response),
            }
        }
        Err(broken(Broken::TooLong))
    }

    async fn send(&mut self, command: &str) -> Result<(), LookError> {
        self.tag += 1;
        let line = format!("a{} {command}", self.tag);
        self.write(&line).await
    }

    async fn write(&mut self, line: &str) -> Result<(), LookError> {
        let stream = self.stream.get_mut();
        let write = async {
            stream.write_all(format!("{line}\r\n").as_bytes()).await?;
            stream.flush().await
        };
        write.await.map_err(|error| broken(Broken::Io(error)))
    }

    async fn response(&mut self) -> Result<Response, LookError> {
        response::read(&mut self.stream, &mut self.room).await.map_err(broken)
    }
}

fn broken(error: Broken) -> LookError {
    LookError::Later(error.to_string(), None)
}

/// How the command with this tag ended, if that is what is said.
fn status(text: &str, tag: u32) -> Option<&str> {
    text.strip_prefix(&format!("a{tag} "))?.split_ascii_whitespace().next()
}

fn is_news(text: &str) -> bool {
    exists(text).is_some()
}

/// How many messages there are, if that is what is said.
fn exists(text: &str) -> Option<u32> {
    text.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok()
}

/// A message in a response, if there is one.
fn fetched(response: Response) -> Option<Fetched> {
    if !response.text.starts_with("* ") || !response.text.contains(" FETCH (") {
        return None;
    }
    let arrived = quoted(&response.text, "INTERNALDATE")
        .and_then(|text| DateTime::parse_from_str(text.trim_start(), "%d-%b-%Y %H:%M:%S %z").ok());
    Some(Fetched {
        uid: number(&response.text, "UID")?,
        size: number(&response.text, "RFC822.SIZE"),
        arrived_at: arrived.map(|at| at.to_utc()),
        body: response.literals.into_iter().next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_read_from_what_the_server_says() {
        let text = "* 3 FETCH (UID 9 INTERNALDATE \" 1-Jul-2026 02:44:25 -0700\" RFC822.SIZE 4286 BODY[]<0> {2})";
        let response = Response { text: text.into(), literals: vec![b"hi".to_vec()] };

        let message = fetched(response).unwrap();

        assert_eq!((message.uid, message.size), (9, Some(4286)));
        assert_eq!(message.arrived_at, Some("2026-07-01T09:44:25Z".parse().unwrap()));
        assert_eq!(message.body, b"hi");
        let other = Response { text: "* 3 FETCH (FLAGS ())".into(), literals: Vec::new() };
        assert_eq!(fetched(other), None);
    }

    #[test]
    fn a_credential_without_what_it_takes_is_named() {
        let fields = BTreeMap::from([("username".to_owned(), "ann".into())]);
        let error = Login::of(&fields).err().unwrap();

        assert_eq!(error, LookError::Credential("it has no field `password`".into()));
    }

    proptest! {
        #[test]
        fn no_message_breaks_the_reader(text in "\\* 1 FETCH \\([ -~]{0,80}") {
            let _ = fetched(Response { text, literals: Vec::new() });
        }
    }
}
