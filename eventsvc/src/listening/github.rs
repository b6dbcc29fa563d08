//! Deliveries that GitHub could not hand over. It tries once and keeps a record for three days; what it says we did not
//! take is fetched from there. Its id is the one the hook would have seen, so what did arrive after all is a repetition.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::egress::Injection;
use url::Url;

use super::{
    Ask, Item, Listener, Look, LookError, Reconcile,
    ask::{LARGEST, check},
};
use crate::options::BODY_CAP;

/// Deliveries fetched in one look.
const MOST_FETCHED: usize = 50;
/// And bytes of them, but for the last.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// The largest record: as large a payload as a hook takes, and what goes with it.
const LARGEST_RECORD: usize = BODY_CAP as usize + 1024 * 1024;
/// A record may be written so much later than one that is newer.
const OVERLAP: i64 = 10 * 60;
const REMEMBERED: usize = 1000;

/// What of a source's options this listener reads.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reconciled {
    pub reconcile: Reconcile,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Position {
    /// What was tried before this is not new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun_at: Option<DateTime<Utc>>,
    /// Everything that was tried before has been read.
    delivered_at: DateTime<Utc>,
    /// What was fetched already, latest last.
    #[serde(default)]
    fetched: VecDeque<String>,
    /// The record is being read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    walk: Option<Walk>,
}

/// Reading the record, which begins with what was tried last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Walk {
    /// At its end, everything that was tried before this will have been read.
    until: DateTime<Utc>,
    /// Where the next page begins, in GitHub's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// One record of GitHub's.
#[derive(Clone, Debug, Deserialize)]
struct Record {
    id: i64,
    guid: String,
    delivered_at: DateTime<Utc>,
    #[serde(default)]
    status_code: i64,
    #[serde(default)]
    event: String,
}

impl Record {
    fn taken(&self) -> bool {
        (200..300).contains(&self.status_code)
    }
}

impl Reconciled {
    async fn look_now(&self, ask: &Ask, position: Option<&Value>) -> Result<Look, LookError> {
        let mut look = Look {
            again: Duration::from_secs(self.reconcile.interval_seconds.into()),
            ..Look::default()
        };
        let position = position.and_then(|at| serde_json::from_value::<Position>(at.clone()).ok());
        let before = position.clone();
        let mut position = position.unwrap_or_else(|| Position {
            begun_at: Some(ask.now),
            delivered_at: ask.now,
            fetched: VecDeque::new(),
            walk: None,
        });
        match self.walk(ask, &mut position, &mut look).await {
            Ok(true) => {}
            Ok(false) => look.again = Duration::ZERO,
            Err(error) if before.as_ref() == Some(&position) => return Err(error),
            // It costs nothing of what was read before, nor of what comes from now on.
            Err(error) => look.failed = Some(error),
        }
        look.items.sort_by_key(|item| item.occurred_at);
        while position.fetched.len() > REMEMBERED {
            position.fetched.pop_front();
        }
        look.position = serde_json::to_value(&position).unwrap_or_default();
        Ok(look)
    }

    /// Reads on in the record, page by page, back to where the last reading began; says whether it came there.
    async fn walk(
        &self,
        ask: &Ask,
        position: &mut Position,
        look: &mut Look,
    ) -> Result<bool, LookError> {
        let (mut bytes, mut lost) = (0, Vec::new());
        let since = position.delivered_at - chrono::Duration::seconds(OVERLAP);
        let since = position.begun_at.map_or(since, |begun| begun.max(since));
        loop {
            let cursor = position.walk.as_ref().and_then(|walk| walk.cursor.as_deref());
            let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = self.get(ask, LARGEST, &format!("deliveries?per_page=100{from}")).await;
            if matches!(page, Err(LookError::Never(_))) {
                // It may know nothing of the place any more.
                position.walk = None;
            }
            let (body, next, _) = page?;
            let records: Vec<Record> = serde_json::from_value(body)
                .map_err(|error| LookError::Never(format!("the list cannot be read: {error}")))?;
            let latest = records.iter().map(|record| record.delivered_at).max();
            let walk = position.walk.get_or_insert_with(|| Walk {
                until: latest.unwrap_or(position.delivered_at).max(position.delivered_at),
                cursor: None,
            });
            let until = walk.until;
            for record in records.iter().filter(|record| record.delivered_at >= since) {
                if record.taken() || position.fetched.contains(&record.guid) {
                    continue;
                }
                if look.items.len() + lost.len() >= MOST_FETCHED || bytes >= MOST_BYTES {
                    return Ok(false);
                }
                match self.fetch(ask, record).await {
                    Ok((item, size)) => {
                        bytes += size;
                        look.items.extend(item);
                    }
                    // It stays like that: what comes behind it does not wait for it.
                    Err(LookError::Never(why)) => {
                        lost.push(why);
                        look.note = Some(lost_for_good(&lost));
                    }
                    Err(error) => return Err(error),
                }
                position.fetched.push_back(record.guid.clone());
            }
            let over = records.last().is_none_or(|last| last.delivered_at < since);
            let here = position.walk.as_ref().and_then(|walk| walk.cursor.as_ref());
            if next.is_some() && next.as_ref() == here {
                position.walk = None;
                return Err(LookError::Never("GitHub shows the same page again".into()));
            }
            let Some(next) = next.filter(|_| !over) else {
                position.delivered_at = until;
                position.walk = None;
                return Ok(true);
            };
            position.walk = Some(Walk { until, cursor: Some(next) });
            if !ask.has_time() {
                return Ok(false);
            }
        }
    }

    /// What was to be delivered, if there was anything, and how much it is.
    async fn fetch(&self, ask: &Ask, record: &Record) -> Result<(Option<Item>, usize), LookError> {
        let path = format!("deliveries/{}", record.id);
        let (whole, _, size) = self.get(ask, LARGEST_RECORD, &path).await?;
        let Some(payload) = whole.pointer("/request/payload").filter(|payload| !payload.is_null())
        else {
            return Ok((None, size));
        };
        let mut headers = Map::new();
        headers.insert("x-github-event".into(), record.event.clone().into());
        headers.insert("x-github-delivery".into(), record.guid.clone().into());
        let item = Item {
            key: record.guid.clone(),
            payload: payload.clone(),
            headers,
            occurred_at: Some(record.delivered_at),
            recovered: true,
            about: None,
        };
        Ok((Some(item), size))
    }

    /// An answer of GitHub's, where its next page begins, and its size.
    async fn get(
        &self,
        ask: &Ask,
        largest: usize,
        path: &str,
    ) -> Result<(Value, Option<String>, usize), LookError> {
        let base = ask.providers.github.as_str().trim_end_matches('/');
        let hook = self.reconcile.hook.as_deref().unwrap_or_default();
        let url = Url::parse(&format!("{base}/{hook}/{path}"));
        let url = url.map_err(|error| LookError::Never(error.to_string()))?;
        let token = ["token", "access_token"].iter().find_map(|name| ask.fields.get(*name));
        let token = token.ok_or_else(|| LookError::Credential("it has no field `token`".into()))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        let injection = Some(Injection::Bearer(token.clone()));
        let answer = ask.send_for(largest, Method::GET, url, headers, None, injection).await?;
        check(&answer)?;
        let link = answer.headers.get(header::LINK).and_then(|link| link.to_str().ok());
        let next = link.and_then(next_cursor);
        let body = serde_json::from_slice(&answer.body);
        let body = body.map_err(|error| LookError::Later(format!("no JSON: {error}"), None))?;
        Ok((body, next, answer.body.len()))
    }
}

/// What a person should know of records that nobody will ever get.
fn lost_for_good(whys: &[String]) -> String {
    let (count, last) = (whys.len(), whys.last().map_or("", String::as_str));
    let what = if count == 1 { "delivery" } else { "deliveries" };
    format!("{count} {what} cannot be fetched: {last}")
}

/// The cursor of the next page in a `Link` header.
fn next_cursor(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let url = next.split_once('<')?.1.split_once('>')?.0;
    let url = Url::parse(url).ok()?;
    let cursor = url.query_pairs().find(|(name, _)| name == "cursor")?.1.into_owned();
    // It goes back into a URL as it is.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    Some(cursor).filter(|cursor| !cursor.is_empty() && cursor.chars().all(plain))
}

impl Listener for Reconciled {
    fn look<'a>(
        &'a self,
        ask: &'a Ask,
        position: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<Look, LookError>> {
        Box::pin(self.look_now(ask, position))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_page_is_named_in_a_link() {
        let link = "<https://api.github.com/x?per_page=100&cursor=v1_9>; rel=\"next\", <https://a/>; rel=\"last\"";

        assert_eq!(next_cursor(link).as_deref(), Some("v1_9"));
        assert_eq!(next_cursor("<https://a/?cursor=1>; rel=\"prev\""), None);
        assert_eq!(next_cursor("<https://a/?cursor=1%26x>; rel=\"next\""), None);
    }

    proptest! {
        #[test]
        fn no_link_breaks_the_reader(link in "[<>; a-z=\"/:?&%,]{0,80}") {
            let _ = next_cursor(&link);
        }
    }
}
