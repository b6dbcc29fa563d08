//! `gmail`: new mail of a mailbox. The cursor is the mailbox's history; a push only rings the bell, so one that is lost,
//! late or doubled changes nothing but when we look.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use servicekit::FieldError;
use url::Url;
use utoipa::ToSchema;

use super::{Ask, FLOOR, Item, Listener, Look, LookError};
use crate::options::{Scheme, Verify};

const LONGEST_INTERVAL: u32 = 24 * 60 * 60;
/// Messages read in one look; the rest is read in the next, at once.
const MOST_MESSAGES: usize = 25;
/// Pages of a list read in one look.
const MOST_PAGES: usize = 10;
/// How far before the last good look a resync begins: clocks differ, and mail is dated by who receives it first.
const OVERLAP: i64 = 60 * 60;
/// A watch lives for seven days and is renewed each day.
const RENEW: i64 = 24 * 60 * 60;

/// The options of a `gmail` trigger. The credential has an `access_token` of the mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "label_ids": ["INBOX"], "interval_seconds": 300 }))]
pub(crate) struct GmailOptions {
    /// Mail with any of these labels; `INBOX` unless said.
    #[serde(default = "inbox")]
    pub label_ids: Vec<String>,
    /// Seconds between two looks: 30 to 86400, 60 unless said. With a topic, that is for pushes that get lost.
    #[serde(default = "usual")]
    pub interval_seconds: u32,
    /// The Pub/Sub topic that Gmail tells of new mail: `projects/…/topics/…`. The watch is kept alive. Its subscription
    /// pushes to the trigger's hook, or, where the operator has set that up, to `/v1/hooks/gmail` for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// With `topic`, for pushes to the trigger's hook: the audience of the push subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// And the account it pushes as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// How much of a message is read: `metadata`, unless said, or `full`.
    #[serde(default = "metadata")]
    pub format: MessageFormat,
}

shared_models::text_enum! {
    /// How much of a message is read.
    pub enum MessageFormat {
        /// Its headers.
        Metadata = "metadata",
        /// All of it, as Gmail takes it apart.
        Full = "full",
    }
}

fn inbox() -> Vec<String> {
    vec!["INBOX".into()]
}

const fn usual() -> u32 {
    60
}

const fn metadata() -> MessageFormat {
    MessageFormat::Metadata
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Position {
    email: String,
    history_id: String,
    /// When everything up to the history id had been read.
    synced_at: DateTime<Utc>,
    /// Messages a resync has yet to read, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watched_at: Option<DateTime<Utc>>,
}

impl GmailOptions {
    /// Reads options; every refused field is named by its pointer within a trigger.
    pub(crate) fn parse(value: &Value) -> Result<Self, Vec<FieldError>> {
        let options: Self = crate::options::read(value)?;
        let mut errors = Vec::new();
        let mut refuse = |field: &str, why: &str| {
            errors.push(FieldError::new(format!("/options/{field}"), why));
        };
        if options.label_ids.is_empty() || options.label_ids.len() > 50 {
            refuse("label_ids", "name 1 to 50 labels");
        }
        if !(FLOOR..=LONGEST_INTERVAL).contains(&options.interval_seconds) {
            refuse("interval_seconds", "must be between 30 and 86400");
        }
        let pushed =
            [("audience", &options.audience), ("service_account", &options.service_account)];
        for (field, value) in pushed {
            if options.topic.is_none() && value.is_some() {
                refuse(field, "has no meaning without a topic");
            }
        }
        if options.audience.is_some() != options.service_account.is_some() {
            refuse("audience", "say audience and service_account, or neither");
        }
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    /// How a push proves that it comes from Google; none where nothing is pushed.
    pub(crate) fn verify(&self) -> Option<Verify> {
        self.audience.as_ref().filter(|_| self.topic.is_some())?;
        Some(Verify {
            scheme: Scheme::GoogleOidc,
            audience: self.audience.clone(),
            service_account: self.service_account.clone(),
            ..Verify::default()
        })
    }

    async fn look_now(&self, ask: &Ask, position: Option<&Value>) -> Result<Look, LookError> {
        let position = position.and_then(|at| serde_json::from_value::<Position>(at.clone()).ok());
        let mut position = match position {
            Some(position) => position,
            None => self.begin(ask).await?,
        };
        self.watch(ask, &mut position).await?;
        let (mut items, mut note, mut more) = (Vec::new(), None, true);
        if !position.pending.is_empty() {
            self.read_pending(ask, &mut position, &mut items).await?;
        } else if let Some(news) = self.history(ask, &position).await? {
            for id in &news.messages {
                items.extend(self.message(ask, id, false).await?);
            }
            position.history_id = news.history_id;
            more = news.more;
            if !more {
                position.synced_at = ask.now;
            }
        } else {
            note = Some(self.resync(ask, &mut position).await?);
            self.read_pending(ask, &mut position, &mut items).await?;
        }
        if self.topic.is_some() && !ask.rung {
            for item in &mut items {
                item.recovered = true;
            }
        }
        let again = if more { 0 } else { self.interval_seconds };
        let renew_at = position.watched_at.map(|at| at + chrono::Duration::seconds(RENEW));
        Ok(Look {
            items,
            position: serde_json::to_value(&position).unwrap_or_default(),
            again: Duration::from_secs(again.into()),
            note,
            renew_at,
            failed: None,
        })
    }

    /// Where a mailbox stands now: what is in it already is not new.
    async fn begin(&self, ask: &Ask) -> Result<Position, LookError> {
        let profile = profile(ask).await?;
        Ok(Position {
            email: text(&profile, "emailAddress"),
            history_id: text(&profile, "historyId"),
            synced_at: ask.now,
            pending: Vec::new(),
            watched_at: None,
        })
    }

    /// Asks Gmail to push, each day anew. The history id it answers is not ours to take: what came since the cursor would
    /// be lost.
    async fn watch(&self, ask: &Ask, position: &mut Position) -> Result<(), LookError> {
        let Some(topic) = &self.topic else { return Ok(()) };
        let due = position.watched_at.is_none_or(|at| (ask.now - at).num_seconds() >= RENEW);
        if due {
            let body = json!({ "topicName": topic, "labelIds": self.label_ids, "labelFilterBehavior": "include" });
            let url = address(ask, "watch", &[])?;
            let answer = ask.api(Method::POST, url, Some(&body)).await?;
            answer.ok_or_else(|| LookError::Never("there is no such mailbox to watch".into()))?;
            position.watched_at = Some(ask.now);
        }
        Ok(())
    }

    /// What came since the cursor; none when it is too old to tell.
    async fn history(&self, ask: &Ask, position: &Position) -> Result<Option<News>, LookError> {
        let mut news = News { history_id: position.history_id.clone(), ..News::default() };
        let (mut seen, mut page) = (HashSet::new(), None::<String>);
        for _ in 0..MOST_PAGES {
            let mut query = vec![
                ("startHistoryId", position.history_id.clone()),
                ("historyTypes", "messageAdded".into()),
                ("maxResults", "100".into()),
            ];
            query.extend(page.take().map(|page| ("pageToken", page)));
            let url = address(ask, "history", &query)?;
            let Some(answer) = ask.api(Method::GET, url, None).await? else { return Ok(None) };
            for record in list(&answer, "history") {
                if news.messages.len() >= MOST_MESSAGES {
                    news.more = true;
                    return Ok(Some(news));
                }
                for added in list(record, "messagesAdded") {
                    let id = text(&added["message"], "id");
                    if !id.is_empty() && seen.insert(id.clone()) {
                        news.messages.push(id);
                    }
                }
                news.history_id = text(record, "id");
            }
            page = answer["nextPageToken"].as_str().map(str::to_owned);
            if page.is_none() {
                let reached = text(&answer, "historyId");
                if !reached.is_empty() {
                    news.history_id = reached;
                }
                return Ok(Some(news));
            }
        }
        news.more = true;
        Ok(Some(news))
    }

    /// The cursor is too old: lists what came since the last good look, and goes on from where the mailbox stands now.
    /// Where it stands is asked first, so that nothing falls between.
    async fn resync(&self, ask: &Ask, position: &mut Position) -> Result<String, LookError> {
        let profile = profile(ask).await?;
        let since = position.synced_at.timestamp() - OVERLAP;
        let (mut ids, mut page, mut cut) = (Vec::new(), None::<String>, true);
        for _ in 0..MOST_PAGES {
            let mut query = vec![("q", format!("after:{since}")), ("maxResults", "100".into())];
            query.extend(page.take().map(|page| ("pageToken", page)));
            let answer = ask.api(Method::GET, address(ask, "messages", &query)?, None).await?;
            let answer = answer.unwrap_or_default();
            ids.extend(list(&answer, "messages").map(|message| text(message, "id")));
            page = answer["nextPageToken"].as_str().map(str::to_owned);
            if page.is_none() {
                cut = false;
                break;
            }
        }
        // The latest come first.
        ids.reverse();
        let note = format!(
            "the history had become too old: {} messages since {} were listed{}",
            ids.len(),
            DateTime::from_timestamp(since, 0).unwrap_or_default().to_rfc3339(),
            if cut { ", and there were more" } else { "" },
        );
        position.pending = ids;
        position.history_id = text(&profile, "historyId");
        position.synced_at = ask.now;
        Ok(note)
    }

    async fn read_pending(
        &self,
        ask: &Ask,
        position: &mut Position,
        items: &mut Vec<Item>,
    ) -> Result<(), LookError> {
        let count = position.pending.len().min(MOST_MESSAGES);
        for id in position.pending.drain(..count) {
            items.extend(self.message(ask, &id, true).await?);
        }
        Ok(())
    }

    /// A message, unless it is gone or has none of the labels.
    async fn message(
        &self,
        ask: &Ask,
        id: &str,
        recovered: bool,
    ) -> Result<Option<Item>, LookError> {
        let path = format!("messages/{id}");
        let url = address(ask, &path, &[("format", self.format.to_string())])?;
        let Some(message) = ask.api(Method::GET, url, None).await? else { return Ok(None) };
        let labels = list(&message, "labelIds").filter_map(Value::as_str);
        if !labels.into_iter().any(|label| self.label_ids.iter().any(|wanted| wanted == label)) {
            return Ok(None);
        }
        let millis = message["internalDate"].as_str().and_then(|millis| millis.parse().ok());
        let occurred_at = millis.and_then(DateTime::from_timestamp_millis);
        Ok(Some(Item {
            key: id.to_owned(),
            payload: message,
            headers: Map::new(),
            occurred_at,
            recovered,
            about: None,
        }))
    }
}

#[derive(Debug, Default)]
struct News {
    messages: Vec<String>,
    history_id: String,
    more: bool,
}

async fn profile(ask: &Ask) -> Result<Value, LookError> {
    let profile = ask.api(Method::GET, address(ask, "profile", &[])?, None).await?;
    profile.ok_or_else(|| LookError::Never("there is no such mailbox".into()))
}

fn address(ask: &Ask, path: &str, query: &[(&str, String)]) -> Result<Url, LookError> {
    let base = ask.providers.gmail.as_str().trim_end_matches('/');
    let url = Url::parse_with_params(&format!("{base}/gmail/v1/users/me/{path}"), query);
    let mut url = url.map_err(|error| LookError::Never(error.to_string()))?;
    if query.is_empty() {
        url.set_query(None);
    }
    Ok(url)
}

fn text(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

impl Listener for GmailOptions {
    fn look<'a>(
        &'a self,
        ask: &'a Ask,
        position: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<Look, LookError>> {
        Box::pin(self.look_now(ask, position))
    }
}
