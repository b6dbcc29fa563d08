//! `imap`: new mail of a mailbox anywhere, read without marking it as seen. The cursor is the mailbox's validity and the
//! last UID read under it; a mailbox that was renumbered is listed anew from shortly before the last good look, and what had
//! been read before is told by what it is.

mod idle;
mod mail;
mod response;
mod session;
mod trust;

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::FieldError;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{Ask, FLOOR, Item, Listener, Look, LookError};
pub(super) use idle::watch;
use session::{Fetched, Login, Mailbox, Session};
pub(crate) use trust::Trust;

const LONGEST_INTERVAL: u32 = 24 * 60 * 60;
/// Messages read in one look; the rest is read in the next, at once.
const MOST_MESSAGES: usize = 20;
/// How much of a message is read.
pub(crate) const LARGEST: usize = 256 * 1024;
/// How far before the last good look a listing begins: servers search by days.
const OVERLAP: i64 = 24 * 60 * 60;
/// More cannot be listed at once.
const MOST_PENDING: usize = 5000;
/// UIDs that one answer names at most: as many as a line has room for.
const WINDOW: u32 = 40_000;
/// How far back a mailbox that was numbered anew is listed, in windows.
const MOST_WINDOWS: usize = 50;

/// The options of an `imap` trigger. The credential has `username` and `password`, or `username` and an `access_token`.
/// The connection is always encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "host": "imap.example.com", "mailbox": "INBOX", "interval_seconds": 60 }))]
pub(crate) struct ImapOptions {
    /// The server.
    pub host: String,
    /// Its port for TLS; 993 unless said.
    #[serde(default = "port")]
    pub port: u16,
    /// Which mailbox; `INBOX` unless said.
    #[serde(default = "inbox")]
    pub mailbox: String,
    /// Seconds between two looks: 30 to 86400, 60 unless said.
    #[serde(default = "usual")]
    pub interval_seconds: u32,
    /// Whether a connection is kept open on which a server that can (IDLE) says at once that there is something; `true`
    /// unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<bool>,
}

const fn port() -> u16 {
    993
}

fn inbox() -> String {
    "INBOX".into()
}

const fn usual() -> u32 {
    60
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Position {
    /// UIDs mean something as long as this stays.
    uid_validity: u32,
    /// The last that was read.
    uid: u32,
    /// When everything up to it had been read.
    synced_at: DateTime<Utc>,
    /// Messages that a listing found and that are yet to be read, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<u32>,
}

impl ImapOptions {
    /// Reads options; every refused field is named by its pointer within a trigger.
    pub(crate) fn parse(value: &Value) -> Result<Self, Vec<FieldError>> {
        let options: Self = crate::options::read(value)?;
        let mut errors = Vec::new();
        let mut refuse = |field: &str, why: &str| {
            errors.push(FieldError::new(format!("/options/{field}"), why));
        };
        let letter = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        if !(1..=253).contains(&options.host.len()) || !options.host.chars().all(letter) {
            refuse("host", "must be a host name or an address");
        }
        if options.port == 0 {
            refuse("port", "must be between 1 and 65535");
        }
        let printable = options.mailbox.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        if !(1..=200).contains(&options.mailbox.len()) || !printable {
            refuse("mailbox", "must have 1 to 200 characters of ASCII");
        }
        if !(FLOOR..=LONGEST_INTERVAL).contains(&options.interval_seconds) {
            refuse("interval_seconds", "must be between 30 and 86400");
        }
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    async fn look_now(&self, ask: &Ask, position: Option<&Value>) -> Result<Look, LookError> {
        let login = Login::of(&ask.fields)?;
        let mut session = Session::open(ask, &self.host, self.port).await?;
        session.log_in(&login).await?;
        let mailbox = session.examine(&self.mailbox).await?;
        let before: Option<Position> =
            position.and_then(|at| serde_json::from_value(at.clone()).ok());
        let Some(mut position) = before else {
            // What is there already is not new.
            let begun = Position {
                uid_validity: mailbox.uid_validity,
                uid: mailbox.uid_next.saturating_sub(1),
                synced_at: ask.now,
                pending: Vec::new(),
            };
            session.log_out().await;
            return Ok(self.found(Vec::new(), &begun, None));
        };
        let mut note = None;
        if position.uid_validity != mailbox.uid_validity {
            let since = position.synced_at - chrono::Duration::seconds(OVERLAP);
            let (pending, cut) = listed(&mut session, mailbox, since).await?;
            note = Some(format!(
                "the mailbox was numbered anew: {} messages since {} were listed{}",
                pending.len(),
                since.date_naive(),
                if cut { ", and there were more" } else { "" },
            ));
            position.uid_validity = mailbox.uid_validity;
            position.uid = mailbox.uid_next.saturating_sub(1);
            position.pending = pending;
        }
        let mut items = self.read_pending(&mut session, &mut position).await?;
        let room = MOST_MESSAGES.saturating_sub(items.len());
        if position.pending.is_empty() && room > 0 {
            let (uids, whole) = arrived(ask, &mut session, mailbox, &mut position).await?;
            let more = uids.len() > room;
            let part = &uids[..uids.len().min(room)];
            items.extend(self.read(&mut session, &position, part, false).await?);
            position.uid = part.last().copied().unwrap_or(position.uid);
            if !more && whole {
                position.synced_at = ask.now;
                session.log_out().await;
                return Ok(self.found(items, &position, note));
            }
        }
        session.log_out().await;
        Ok(Look { again: Duration::ZERO, ..self.found(items, &position, note) })
    }

    fn found(&self, items: Vec<Item>, position: &Position, note: Option<String>) -> Look {
        Look {
            items,
            position: serde_json::to_value(position).unwrap_or_default(),
            again: Duration::from_secs(self.interval_seconds.into()),
            note,
            ..Look::default()
        }
    }

    async fn read_pending(
        &self,
        session: &mut Session,
        position: &mut Position,
    ) -> Result<Vec<Item>, LookError> {
        let count = position.pending.len().min(MOST_MESSAGES);
        let part: Vec<u32> = position.pending.drain(..count).collect();
        self.read(session, position, &part, true).await
    }

    async fn read(
        &self,
        session: &mut Session,
        position: &Position,
        uids: &[u32],
        recovered: bool,
    ) -> Result<Vec<Item>, LookError> {
        if uids.is_empty() {
            return Ok(Vec::new());
        }
        let mut fetched = session.fetch(uids, LARGEST).await?;
        fetched.retain(|message| uids.contains(&message.uid));
        fetched.sort_by_key(|message| message.uid);
        fetched.dedup_by_key(|message| message.uid);
        let validity = position.uid_validity;
        Ok(fetched.iter().map(|message| self.item(message, validity, recovered)).collect())
    }

    fn item(&self, message: &Fetched, validity: u32, recovered: bool) -> Item {
        let payload = mail::payload(message);
        let Self { host, mailbox, .. } = self;
        // Whatever its number is, it is the same message when it says the same and arrived at the same time.
        let mut same = Sha256::new();
        same.update(format!("{:?}|{:?}|", message.size, message.arrived_at));
        same.update(&message.body);
        Item {
            // A source keeps its deliveries when it is pointed at another mailbox, which may number alike.
            key: format!("{host}/{mailbox}:{validity}:{}", message.uid),
            headers: Map::new(),
            occurred_at: message.arrived_at,
            recovered,
            about: Some(hex::encode(same.finalize())),
            payload,
        }
    }
}

/// What arrived after the position, in order, and whether that is all of it. In a mailbox with more messages than one answer
/// holds, UIDs are asked for window by window, and the position goes past what holds none.
async fn arrived(
    ask: &Ask,
    session: &mut Session,
    mailbox: Mailbox,
    position: &mut Position,
) -> Result<(Vec<u32>, bool), LookError> {
    if mailbox.exists <= WINDOW {
        return Ok((session.search_after(position.uid).await?, true));
    }
    loop {
        let end = position.uid.saturating_add(WINDOW);
        if end >= mailbox.uid_next.saturating_sub(1) {
            return Ok((session.search_after(position.uid).await?, true));
        }
        let uids = session.search_between(position.uid, end).await?;
        if !uids.is_empty() {
            return Ok((uids, false));
        }
        position.uid = end;
        if !ask.has_time() {
            return Ok((uids, false));
        }
    }
}

/// The latest messages that arrived on a day or later, in order, and whether there are more.
async fn listed(
    session: &mut Session,
    mailbox: Mailbox,
    since: DateTime<Utc>,
) -> Result<(Vec<u32>, bool), LookError> {
    let last = mailbox.uid_next.saturating_sub(1);
    let mut pending = Vec::new();
    if mailbox.exists <= WINDOW {
        pending = session.search_since(since, 0, last).await?;
    } else {
        // From the last one back: whatever is this far behind is not read any more.
        let mut end = last;
        for _ in 0..MOST_WINDOWS {
            let begin = end.saturating_sub(WINDOW);
            let mut found = session.search_since(since, begin, end).await?;
            found.append(&mut pending);
            pending = found;
            end = begin;
            if end == 0 || pending.len() > MOST_PENDING {
                break;
            }
        }
        if end > 0 && pending.len() <= MOST_PENDING {
            return Ok((pending, true));
        }
    }
    let cut = pending.len() > MOST_PENDING;
    pending.drain(..pending.len().saturating_sub(MOST_PENDING));
    Ok((pending, cut))
}

impl Listener for ImapOptions {
    fn look<'a>(
        &'a self,
        ask: &'a Ask,
        position: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<Look, LookError>> {
        Box::pin(self.look_now(ask, position))
    }
}
