//! `poll`: a JSON document or a feed at a URL, looked at every so often.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode, header};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::{
    FieldError,
    egress::{Answer, Injection},
};
use sha2::{Digest, Sha256};
use url::Url;
use utoipa::ToSchema;

use super::{
    Ask, FLOOR, Item, Listener, Look, LookError,
    ask::{check, header_of},
    feed,
};

const LONGEST_INTERVAL: u32 = 24 * 60 * 60;
const USUAL_INTERVAL: u32 = 300;
const MOST_HEADERS: usize = 20;
/// Ids of things found before that are remembered; deliveries know the older ones.
const REMEMBERED: usize = 2000;
/// More than are remembered could not be told from new ones.
const LONGEST_LIST: usize = 1500;
/// The most things taken from one look.
const MOST_ITEMS: usize = 500;

shared_models::text_enum! {
    /// What is at the address.
    pub enum Format {
        /// JSON with a list in it.
        Json = "json",
        /// RSS or Atom.
        Feed = "feed",
    }
}

/// The options of a `poll` trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "url": "https://example.com/feed.xml", "format": "feed", "interval_seconds": 600 }))]
pub(crate) struct PollOptions {
    /// Where to look.
    pub url: String,
    /// What is there.
    #[serde(default = "json")]
    pub format: Format,
    /// Seconds between two looks: 30 to 86400, 300 unless said.
    #[serde(default = "usual")]
    pub interval_seconds: u32,
    /// `json`: where the list of things is, as a JSON Pointer; the whole document unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<String>,
    /// `json`: where a thing's id is, as a JSON Pointer within it; `/id` unless said. A thing without one is told by all it
    /// says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `json`: where its time is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// Headers to send; the secret belongs into the credential.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The header that carries the credential's `secret` or `token`, in place of `Authorization: Bearer`. A credential
    /// with `username` and `password` is sent as HTTP Basic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_header: Option<String>,
    /// Whether what is there at the first look fires as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
}

const fn json() -> Format {
    Format::Json
}

const fn usual() -> u32 {
    USUAL_INTERVAL
}

/// How far it has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Position {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    /// Hashes of the ids found so far, latest last.
    seen: VecDeque<String>,
}

impl PollOptions {
    /// Reads options; every refused field is named by its pointer within a trigger.
    pub(crate) fn parse(value: &Value) -> Result<Self, Vec<FieldError>> {
        let options: Self = crate::options::read(value)?;
        let errors = options.errors();
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    fn errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, why: &str| {
            errors.push(FieldError::new(format!("/options/{field}"), why));
        };
        match Url::parse(&self.url) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                refuse("url", "must be http or https");
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                refuse("url", "the secret belongs into the credential");
            }
            Ok(_) => {}
            Err(error) => refuse("url", &error.to_string()),
        }
        if !(FLOOR..=LONGEST_INTERVAL).contains(&self.interval_seconds) {
            refuse("interval_seconds", "must be between 30 and 86400");
        }
        let pointers =
            [("items", &self.items), ("id", &self.id), ("occurred_at", &self.occurred_at)];
        for (field, pointer) in pointers {
            match pointer {
                Some(_) if self.format == Format::Feed => refuse(field, "a feed says so itself"),
                Some(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => {
                    refuse(field, "a JSON Pointer starts with a slash");
                }
                _ => {}
            }
        }
        if self.headers.len() > MOST_HEADERS {
            refuse("headers", "at most 20");
        }
        for (name, value) in &self.headers {
            let secretive = ["authorization", "cookie", "proxy-authorization"];
            if secretive.contains(&name.to_ascii_lowercase().as_str()) {
                refuse(&format!("headers/{name}"), "the secret belongs into the credential");
            } else if header_of(name, value).is_none() {
                refuse(&format!("headers/{name}"), "not a header");
            }
        }
        if self.secret_header.as_deref().is_some_and(|name| header_of(name, "x").is_none()) {
            refuse("secret_header", "not a header name");
        }
        errors
    }

    fn injection(&self, ask: &Ask) -> Option<Injection> {
        let field = |name: &str| ask.fields.get(name).cloned();
        if let (Some(username), Some(password)) = (field("username"), field("password")) {
            let username = username.expose_secret().to_owned();
            return Some(Injection::Basic { username, password });
        }
        let secret = ["secret", "token", "access_token"].into_iter().find_map(field)?;
        match self.secret_header.as_deref().and_then(|name| header_of(name, "x")) {
            Some((name, _)) => Some(Injection::Header { name, prefix: String::new(), secret }),
            None => Some(Injection::Bearer(secret)),
        }
    }

    async fn fetch(&self, ask: &Ask, position: &Position) -> Result<Answer, LookError> {
        let url = Url::parse(&self.url).map_err(|error| LookError::Never(error.to_string()))?;
        let mut headers: HeaderMap =
            self.headers.iter().filter_map(|(name, value)| header_of(name, value)).collect();
        let conditions = [
            (header::IF_NONE_MATCH, &position.etag),
            (header::IF_MODIFIED_SINCE, &position.last_modified),
        ];
        for (name, value) in conditions {
            if let Some(value) = value.as_deref().and_then(|value| value.parse().ok()) {
                headers.insert(name, value);
            }
        }
        let answer = ask.send(Method::GET, url, headers, None, self.injection(ask)).await?;
        if answer.status != StatusCode::NOT_MODIFIED {
            check(&answer)?;
        }
        Ok(answer)
    }

    fn read(&self, body: &[u8]) -> Result<Vec<Item>, LookError> {
        match self.format {
            Format::Json => self.read_json(body),
            Format::Feed => {
                let text = String::from_utf8_lossy(body);
                let mut entries = feed::parse(&text).map_err(LookError::Never)?;
                // Feeds tell the latest first.
                entries.reverse();
                let named = entries.into_iter().filter(|entry| !entry.key().is_empty());
                Ok(named
                    .map(|entry| Item {
                        key: entry.key().to_owned(),
                        payload: entry.payload(),
                        headers: Map::new(),
                        occurred_at: entry.published.or(entry.updated),
                        recovered: false,
                        about: None,
                    })
                    .collect())
            }
        }
    }

    fn read_json(&self, body: &[u8]) -> Result<Vec<Item>, LookError> {
        let never = |why: String| LookError::Never(why);
        let document: Value =
            serde_json::from_slice(body).map_err(|error| never(format!("no JSON: {error}")))?;
        let pointer = self.items.as_deref().unwrap_or_default();
        let list = document.pointer(pointer).and_then(Value::as_array);
        let list = list.ok_or_else(|| never(format!("there is no list at `{pointer}`")))?;
        let at = |item: &Value| {
            let text = item.pointer(self.occurred_at.as_deref()?)?;
            text.as_str()?.parse().ok()
        };
        Ok(list
            .iter()
            .map(|item| Item {
                key: self.key(item),
                payload: item.clone(),
                headers: Map::new(),
                occurred_at: at(item),
                recovered: false,
                about: None,
            })
            .collect())
    }

    fn key(&self, item: &Value) -> String {
        match item.pointer(self.id.as_deref().unwrap_or("/id")) {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => format!("sha256:{}", hex::encode(Sha256::digest(item.to_string()))),
        }
    }

    async fn look_now(&self, ask: &Ask, position: Option<&Value>) -> Result<Look, LookError> {
        let first = position.is_none();
        let mut position: Position =
            position.and_then(|at| serde_json::from_value(at.clone()).ok()).unwrap_or_default();
        let answer = self.fetch(ask, &position).await?;
        let mut again = Duration::from_secs(self.interval_seconds.into());
        let mut items = Vec::new();
        if answer.status != StatusCode::NOT_MODIFIED {
            let all = self.read(&answer.body)?;
            if all.len() > LONGEST_LIST {
                let why = format!("the list has more than {LONGEST_LIST} things: ask for fewer");
                return Err(LookError::Never(why));
            }
            // What is there at the first look is only remembered, all of it, unless it shall fire.
            let fires = !first || self.backfill;
            let most = if fires { MOST_ITEMS } else { LONGEST_LIST };
            let mut fresh: Vec<Item> = Vec::new();
            for item in all {
                let hash = short(&item.key);
                if !position.seen.contains(&hash) && fresh.len() < most {
                    position.seen.push_back(hash);
                    fresh.push(item);
                } else if !position.seen.contains(&hash) {
                    again = Duration::ZERO;
                }
            }
            while position.seen.len() > REMEMBERED {
                position.seen.pop_front();
            }
            // Unchanged means nothing while there is more to take.
            let kept = |name| answer.headers.get(name).filter(|_| !again.is_zero());
            let text = |name| kept(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            position.etag = text(header::ETAG);
            position.last_modified = text(header::LAST_MODIFIED);
            if fires {
                items = fresh;
            }
        }
        let position = serde_json::to_value(&position).unwrap_or_default();
        Ok(Look { items, position, again, ..Look::default() })
    }
}

fn short(key: &str) -> String {
    hex::encode(&Sha256::digest(key)[..12])
}

impl Listener for PollOptions {
    fn look<'a>(
        &'a self,
        ask: &'a Ask,
        position: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<Look, LookError>> {
        Box::pin(self.look_now(ask, position))
    }
}
