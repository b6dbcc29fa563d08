//! What model calls cost.
//!
//! A price is five numbers, one for each bucket of [`Usage`]: millionths of a dollar for a million tokens. A call is priced
//! as of the moment it is made: by the tenant's own price book if it names the model, else by the platform's list. All of
//! it is integers; each call is rounded to the nearest millionth of a dollar, a half upwards. A model without a price has
//! no cost, which is not a cost of nothing.

mod list;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use dbutil::Db;
use serde::{Deserialize, Serialize};
use shared_models::{MicroUsd, TenantId, Usage};

pub(crate) use list::{PLATFORM, Standard};

use crate::store;

/// Millionths of a dollar for a million tokens, by bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rates {
    /// Input that was not cached.
    #[schema(minimum = 0)]
    pub(crate) input: i64,
    /// Input read from the provider's cache.
    #[schema(minimum = 0)]
    pub(crate) cache_read: i64,
    /// Input written to it.
    #[schema(minimum = 0)]
    pub(crate) cache_write: i64,
    /// The visible answer.
    #[schema(minimum = 0)]
    pub(crate) output: i64,
    /// Reasoning before it.
    #[schema(minimum = 0)]
    pub(crate) reasoning: i64,
}

impl Rates {
    const UNIT: u128 = 1_000_000;

    /// What a call cost; none when no integer of ours could hold it.
    pub(crate) fn cost(&self, usage: &Usage) -> Option<MicroUsd> {
        let part =
            |rate: i64, tokens: u64| u128::try_from(rate).ok()?.checked_mul(u128::from(tokens));
        let parts = [
            part(self.input, usage.input_tokens),
            part(self.cache_read, usage.cache_read_tokens),
            part(self.cache_write, usage.cache_write_tokens),
            part(self.output, usage.output_tokens),
            part(self.reasoning, usage.reasoning_tokens),
        ];
        let sum = parts.into_iter().try_fold(0_u128, |sum, part| sum.checked_add(part?))?;
        let rounded = sum.checked_add(Self::UNIT / 2)? / Self::UNIT;
        i64::try_from(rounded).ok().map(MicroUsd)
    }
}

/// A price of a tenant's own.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// As agents name the model; `provider:*` stands for all that have no price of their own.
    pub(crate) model: String,
    pub(crate) from: DateTime<Utc>,
    pub(crate) rates: Rates,
}

/// A tenant's price book, as it was a moment ago.
struct Book {
    read: Instant,
    /// The database's clock at that moment.
    at: DateTime<Utc>,
    own: Vec<Own>,
}

/// The price books in use. An edit through this process is seen at once, one through another within the books' life.
#[derive(Default)]
pub(crate) struct Prices {
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// Rises with each edit through this process.
    edits: u64,
    of: HashMap<TenantId, Arc<Book>>,
}

const LIFE: Duration = Duration::from_secs(10);
/// Books of tenants that have been quiet are forgotten beyond so many.
const MOST: usize = 10_000;

impl Prices {
    /// What a model costs now, under the first of these names that has a price.
    pub(crate) async fn rates(
        &self,
        db: &Db,
        tenant: TenantId,
        names: &[&str],
    ) -> Result<Option<Rates>, sqlx::Error> {
        let book = self.book(db, tenant).await?;
        let now = book.at + book.read.elapsed();
        Ok(names.iter().find_map(|name| find(&book.own, name, now)))
    }

    /// Reads a tenant's book anew the next time.
    pub(crate) fn forget(&self, tenant: TenantId) {
        let mut books = self.lock();
        books.edits += 1;
        books.of.remove(&tenant);
    }

    async fn book(&self, db: &Db, tenant: TenantId) -> Result<Arc<Book>, sqlx::Error> {
        let (known, edits) = {
            let books = self.lock();
            (books.of.get(&tenant).cloned(), books.edits)
        };
        if let Some(book) = known.filter(|book| book.read.elapsed() < LIFE) {
            return Ok(book);
        }
        let read = Instant::now();
        let mut tx = db.begin(tenant).await?;
        let (at, own) = store::price::book(&mut tx).await?;
        drop(tx);
        let book = Arc::new(Book { read, at, own });
        let mut books = self.lock();
        // What was read before an edit is for whoever asked before it, and for nobody else.
        if books.edits == edits {
            if books.of.len() >= MOST {
                books.of.retain(|_, book| book.read.elapsed() < LIFE);
            }
            books.of.insert(tenant, book.clone());
        }
        Ok(book)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The price of a model at a moment: the tenant's, by name or for all of the provider, else the platform's.
fn find(own: &[Own], name: &str, now: DateTime<Utc>) -> Option<Rates> {
    let provider = format!("{}:*", name.split_once(':').map_or("openai", |(provider, _)| provider));
    let newest = |wanted: &str| {
        let held = own.iter().filter(|price| price.model == wanted && price.from <= now);
        held.max_by_key(|price| price.from).map(|price| price.rates)
    };
    newest(name).or_else(|| newest(&provider)).or_else(|| list::find(name, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_cost_is_the_exact_sum_of_its_buckets_rounded_once() {
        let rates = Rates {
            input: 2_500_000,
            cache_read: 1_250_000,
            cache_write: 3,
            output: 10_000_000,
            reasoning: 7,
        };
        let usage = Usage {
            input_tokens: 1_000,
            cache_read_tokens: 2_000,
            cache_write_tokens: 500_000,
            output_tokens: 100,
            reasoning_tokens: 1,
        };

        // 2500 + 2500 + 1.5 + 1000 + 0.000007
        assert_eq!(rates.cost(&usage), Some(MicroUsd(6_002)));
        let one = |input_tokens| Usage { input_tokens, ..Usage::default() };
        let cheap = Rates { input: 20_000, ..Rates::default() };
        assert_eq!(cheap.cost(&one(24)), Some(MicroUsd(0)));
        assert_eq!(cheap.cost(&one(25)), Some(MicroUsd(1)));
        let absurd = Rates { input: i64::MAX, ..Rates::default() };
        assert_eq!(absurd.cost(&one(u64::MAX)), None);
    }

    #[test]
    fn a_tenants_price_goes_before_the_platforms_from_its_date_on() {
        let price = |model: &str, from: &str, input| Own {
            model: model.into(),
            from: at(from),
            rates: Rates { input, ..Rates::default() },
        };
        let own = [
            price("openai:gpt-4o", "2026-01-01T00:00:00Z", 1),
            price("openai:gpt-4o", "2026-06-01T00:00:00Z", 2),
            price("ollama:*", "2020-01-01T00:00:00Z", 0),
        ];
        let input = |name: &str, now: &str| find(&own, name, at(now)).map(|rates| rates.input);

        assert_eq!(input("openai:gpt-4o", "2025-12-31T23:59:59Z"), Some(2_500_000));
        assert_eq!(input("openai:gpt-4o", "2026-05-31T23:59:59Z"), Some(1));
        assert_eq!(input("openai:gpt-4o", "2026-06-01T00:00:00Z"), Some(2));
        assert_eq!(input("ollama:llama3", "2026-06-01T00:00:00Z"), Some(0));
        assert_eq!(input("openai:unheard-of", "2026-06-01T00:00:00Z"), None);
        assert_eq!(input("sim:echo", "2026-06-01T00:00:00Z"), Some(0));
    }
}
