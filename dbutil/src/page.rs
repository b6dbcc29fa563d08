//! Lists: keyset pages, newest first.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Microseconds since 1970 until the year has five digits.
const YEAR_10000: i64 = 253_402_300_800_000_000;

/// What a list is asked for. Flatten it into the list's own query.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many at most: 1 to 100, 50 unless said.
    pub limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    pub cursor: Option<String>,
}

/// A cursor that is not one of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that a list returned")]
pub struct BadCursor;

impl PageQuery {
    /// Items per page, within bounds.
    pub fn limit(&self) -> i64 {
        i64::from(self.limit.unwrap_or(50).clamp(1, 100))
    }

    /// The position after which the page starts.
    pub fn after(&self) -> Result<Option<Cursor>, BadCursor> {
        self.cursor.as_deref().map(Cursor::parse).transpose()
    }
}

/// A position in a list ordered by time and id, both descending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When the last item was created.
    pub at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
}

impl Cursor {
    /// Reads what [`Cursor::encode`] wrote.
    pub fn parse(text: &str) -> Result<Self, BadCursor> {
        let bytes: [u8; 24] = URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(BadCursor)?;
        let (micros, id) = bytes.split_at(8);
        let micros = i64::from_be_bytes(micros.try_into().map_err(|_| BadCursor)?);
        // Postgres knows fewer years than this type does.
        let at = DateTime::from_timestamp_micros(micros)
            .filter(|_| (0..YEAR_10000).contains(&micros))
            .ok_or(BadCursor)?;
        Ok(Self { at, id: Uuid::from_slice(id).map_err(|_| BadCursor)? })
    }

    /// An opaque string for the URL.
    pub fn encode(&self) -> String {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.at.timestamp_micros().to_be_bytes());
        bytes[8..].copy_from_slice(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Ask again with this for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of up to `limit` items from a query that asked for one more.
    pub fn new(mut items: Vec<T>, limit: i64, position: impl Fn(&T) -> Cursor) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = more.then(|| items.last().map(|item| position(item).encode())).flatten();
        Self { items, next_cursor }
    }

    /// The same page with each item turned into something else.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next_cursor: self.next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_survives_its_text_form(micros in 0i64..4_000_000_000_000_000, id: [u8; 16]) {
            let at = DateTime::from_timestamp_micros(micros).unwrap();
            let cursor = Cursor { at, id: Uuid::from_bytes(id) };
            prop_assert_eq!(Cursor::parse(&cursor.encode()), Ok(cursor));
        }

        #[test]
        fn any_other_text_is_refused_without_a_panic(text in ".{0,60}") {
            let _ = Cursor::parse(&text);
        }
    }

    #[test]
    fn a_time_that_no_list_could_have_had_is_refused() {
        for micros in [i64::MIN / 2, -1, YEAR_10000] {
            let at = DateTime::from_timestamp_micros(micros).unwrap();
            let text = Cursor { at, id: Uuid::nil() }.encode();
            assert_eq!(Cursor::parse(&text), Err(BadCursor), "{at}");
        }
    }

    #[test]
    fn only_a_full_page_with_more_behind_it_has_a_cursor() {
        let at =
            |n: &i64| Cursor { at: DateTime::from_timestamp_micros(*n).unwrap(), id: Uuid::nil() };

        let (last, full) = (Page::new(vec![3, 2], 2, at), Page::new(vec![3, 2, 1], 2, at));

        assert_eq!(last.next_cursor, None);
        assert_eq!(full.items, [3, 2]);
        assert_eq!(full.next_cursor, Some(at(&2).encode()));
    }
}
