//! Gmail, as its documents say: history with cursors that grow too old, lists in pages, watches that run out. It can be told
//! to fail, and what it would push is the test's to deliver, lose, double or reorder.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::{Answer, Stub, Stubbed};

/// The token the mailbox opens with.
pub const GMAIL_TOKEN: &str = "ya29.test";
const PAGE: usize = 3;

#[derive(Debug, Default)]
struct Mailbox {
    /// Messages in the order in which they came: id, history id, label, milliseconds.
    messages: Vec<(String, u64, String, i64)>,
    history: u64,
    /// History before this is forgotten.
    oldest: u64,
    watches: u64,
    /// Things in one page of a list.
    page: usize,
    /// Answers to give before anything else.
    failing: Vec<u16>,
}

/// A stand-in for Gmail with one mailbox.
pub struct Gmail {
    stub: Stub,
    mailbox: Arc<Mutex<Mailbox>>,
    email: String,
}

impl Gmail {
    /// Starts it, for a mailbox that has some history.
    pub async fn start(email: &str) -> Self {
        let mailbox =
            Arc::new(Mutex::new(Mailbox { history: 100, page: PAGE, ..Mailbox::default() }));
        let (state, name) = (mailbox.clone(), email.to_owned());
        let stub = Stub::start(move |request| {
            answer(&mut state.lock().expect("no poisoned lock"), &name, request)
        })
        .await;
        Self { stub, mailbox, email: email.to_owned() }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.stub.url()
    }

    /// A message comes; what Google would push about it is answered.
    pub fn receive(&self, id: &str, label: &str, millis: i64) -> Value {
        let mut mailbox = self.mailbox();
        mailbox.history += 7;
        let history = mailbox.history;
        mailbox.messages.push((id.into(), history, label.into(), millis));
        json!({ "emailAddress": self.email, "historyId": history.to_string() })
    }

    /// A message is gone; its history is not.
    pub fn remove(&self, id: &str) {
        for message in &mut self.mailbox().messages {
            if message.0 == id {
                message.2 = "GONE".into();
            }
        }
    }

    /// All history up to now is forgotten.
    pub fn forget_history(&self) {
        let mut mailbox = self.mailbox();
        mailbox.oldest = mailbox.history;
    }

    /// The next requests are answered so.
    pub fn fail_with(&self, statuses: &[u16]) {
        self.mailbox().failing = statuses.iter().rev().copied().collect();
    }

    /// Lists come in pages of so many.
    pub fn set_page(&self, page: usize) {
        self.mailbox().page = page;
    }

    /// How often the mailbox was asked to be watched.
    pub fn watches(&self) -> u64 {
        self.mailbox().watches
    }

    /// How often a path under the mailbox was asked for.
    pub fn hits(&self, path: &str) -> usize {
        self.stub.hits(&format!("/gmail/v1/users/me/{path}"))
    }

    fn mailbox(&self) -> std::sync::MutexGuard<'_, Mailbox> {
        self.mailbox.lock().expect("no poisoned lock")
    }
}

fn answer(mailbox: &mut Mailbox, email: &str, request: &Stubbed) -> Answer {
    if let Some(status) = mailbox.failing.pop() {
        return problem(status);
    }
    if request.header("authorization") != format!("Bearer {GMAIL_TOKEN}") {
        return problem(401);
    }
    let query = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(request.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let path = request.path.strip_prefix("/gmail/v1/users/me/").unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", "profile") => Answer::Json(
            200,
            json!({ "emailAddress": email, "historyId": mailbox.history.to_string(),
                "messagesTotal": mailbox.messages.len() }),
        ),
        ("GET", "history") => history(mailbox, query("startHistoryId"), query("pageToken")),
        ("GET", "messages") => messages(mailbox, query("q"), query("pageToken")),
        ("POST", "watch") if request.json()["topicName"].is_string() => {
            mailbox.watches += 1;
            Answer::Json(
                200,
                json!({ "historyId": mailbox.history.to_string(), "expiration": "9" }),
            )
        }
        ("GET", path) => match path.strip_prefix("messages/") {
            Some(id) => message(mailbox, id),
            None => problem(404),
        },
        _ => problem(404),
    }
}

fn history(mailbox: &Mailbox, start: Option<String>, page: Option<String>) -> Answer {
    let Some(start) = start.and_then(|start| start.parse::<u64>().ok()) else {
        return problem(400);
    };
    if start < mailbox.oldest {
        return problem(404);
    }
    let all = mailbox.messages.iter().filter(|message| message.1 > start);
    let all = all.map(|(id, history, ..)| {
        json!({ "id": history.to_string(), "messagesAdded": [{ "message": { "id": id, "threadId": id } }] })
    });
    let mut body = paged(all.collect(), "history", page, mailbox.page);
    body["historyId"] = mailbox.history.to_string().into();
    Answer::Json(200, body)
}

fn messages(mailbox: &Mailbox, q: Option<String>, page: Option<String>) -> Answer {
    let after = q.and_then(|q| q.strip_prefix("after:")?.parse::<i64>().ok()).unwrap_or_default();
    let found = mailbox.messages.iter().rev();
    let found = found.filter(|message| message.3 / 1000 > after && message.2 != "GONE");
    let found = found.map(|(id, ..)| json!({ "id": id, "threadId": id })).collect();
    Answer::Json(200, paged(found, "messages", page, mailbox.page))
}

fn message(mailbox: &Mailbox, id: &str) -> Answer {
    match mailbox.messages.iter().find(|message| message.0 == id && message.2 != "GONE") {
        Some((id, history, label, millis)) => Answer::Json(
            200,
            json!({ "id": id, "threadId": id, "labelIds": [label], "historyId": history.to_string(),
                "internalDate": millis.to_string(), "snippet": format!("about {id}") }),
        ),
        None => problem(404),
    }
}

fn paged(all: Vec<Value>, name: &str, page: Option<String>, size: usize) -> Value {
    let from: usize = page.and_then(|page| page.parse().ok()).unwrap_or_default();
    let part: Vec<Value> = all.iter().skip(from).take(size).cloned().collect();
    let mut body = json!({});
    if from + size < all.len() {
        body["nextPageToken"] = (from + size).to_string().into();
    }
    if !part.is_empty() {
        body[name] = part.into();
    }
    body
}

fn problem(status: u16) -> Answer {
    let body = json!({ "error": { "code": status, "errors": [{ "reason": "test" }] } });
    match status {
        429 => Answer::Raw(429, vec![("retry-after".into(), "1".into())], body.to_string().into()),
        _ => Answer::Json(status, body),
    }
}
