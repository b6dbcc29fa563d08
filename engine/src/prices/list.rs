//! The platform's own price list: what providers have published, by the day from which it holds. A tenant with other terms
//! writes them into its own price book.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use super::Rates;

/// A published price.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standard {
    /// As agents name the model; `provider:*` stands for all of the provider.
    pub(crate) model: &'static str,
    /// Year, month and day, UTC.
    from: (i32, u32, u32),
    pub(crate) rates: Rates,
}

/// Prices in millionths of a dollar for a million tokens: input, read from the cache, written to it, output. Reasoning is
/// sold as output by all of them.
const fn price(model: &'static str, from: (i32, u32, u32), of: [i64; 4]) -> Standard {
    let [input, cache_read, cache_write, output] = of;
    let rates = Rates { input, cache_read, cache_write, output, reasoning: output };
    Standard { model, from, rates }
}

/// The list.
pub(crate) const PLATFORM: &[Standard] = &[
    price("sim:*", (2020, 1, 1), [0, 0, 0, 0]),
    price("openai:gpt-4o", (2024, 10, 2), [2_500_000, 1_250_000, 2_500_000, 10_000_000]),
    price("openai:gpt-4o-mini", (2024, 7, 18), [150_000, 75_000, 150_000, 600_000]),
    price("openai:gpt-4.1", (2025, 4, 14), [2_000_000, 500_000, 2_000_000, 8_000_000]),
    price("openai:gpt-4.1-mini", (2025, 4, 14), [400_000, 100_000, 400_000, 1_600_000]),
    price("openai:gpt-4.1-nano", (2025, 4, 14), [100_000, 25_000, 100_000, 400_000]),
    price("openai:o3", (2025, 6, 10), [2_000_000, 500_000, 2_000_000, 8_000_000]),
    price("openai:o4-mini", (2025, 4, 16), [1_100_000, 275_000, 1_100_000, 4_400_000]),
    price("openai:gpt-5", (2025, 8, 7), [1_250_000, 125_000, 1_250_000, 10_000_000]),
    price("openai:gpt-5-mini", (2025, 8, 7), [250_000, 25_000, 250_000, 2_000_000]),
    price("openai:gpt-5-nano", (2025, 8, 7), [50_000, 5_000, 50_000, 400_000]),
    price("openai:text-embedding-3-small", (2024, 1, 25), [20_000, 20_000, 20_000, 0]),
    price("openai:text-embedding-3-large", (2024, 1, 25), [130_000, 130_000, 130_000, 0]),
    price("anthropic:claude-3-5-haiku", (2024, 12, 1), [800_000, 80_000, 1_000_000, 4_000_000]),
    price("anthropic:claude-sonnet-4", (2025, 5, 22), [3_000_000, 300_000, 3_750_000, 15_000_000]),
    price(
        "anthropic:claude-opus-4",
        (2025, 5, 22),
        [15_000_000, 1_500_000, 18_750_000, 75_000_000],
    ),
    price(
        "anthropic:claude-sonnet-4-5",
        (2025, 9, 29),
        [3_000_000, 300_000, 3_750_000, 15_000_000],
    ),
    price("anthropic:claude-haiku-4-5", (2025, 10, 15), [1_000_000, 100_000, 1_250_000, 5_000_000]),
    price("gemini:gemini-2.5-flash", (2025, 6, 17), [300_000, 75_000, 300_000, 2_500_000]),
    price("gemini:gemini-2.5-flash-lite", (2025, 7, 22), [100_000, 25_000, 100_000, 400_000]),
];

impl Standard {
    /// The moment from which it holds.
    pub(crate) fn effective_from(&self) -> DateTime<Utc> {
        let (year, month, day) = self.from;
        let day = NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default();
        day.and_time(NaiveTime::MIN).and_utc()
    }
}

/// What the list says of a model at a moment. A dated name (`gpt-4o-2024-08-06`) costs what the name without its date does.
pub(super) fn find(name: &str, now: DateTime<Utc>) -> Option<Rates> {
    let full = if name.contains(':') { name.to_owned() } else { format!("openai:{name}") };
    let provider = format!("{}:*", full.split_once(':').map_or("", |(provider, _)| provider));
    [full.as_str(), undated(&full), provider.as_str()].into_iter().find_map(|wanted| {
        let held = PLATFORM.iter().filter(|price| price.model == wanted);
        let held = held.filter(|price| price.effective_from() <= now);
        held.max_by_key(|price| price.effective_from()).map(|price| price.rates)
    })
}

/// The name without `-2024-08-06` or `-20240806` at its end.
fn undated(name: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    for (length, shape) in [(11, [4, 2, 2].as_slice()), (9, [8].as_slice())] {
        let Some((stem, date)) =
            name.len().checked_sub(length).and_then(|at| name.split_at_checked(at))
        else {
            continue;
        };
        let parts: Vec<&str> = date.split('-').skip(1).collect();
        let fits = parts.len() == shape.len()
            && parts.iter().zip(shape).all(|(part, length)| part.len() == *length && digits(part));
        if date.starts_with('-') && fits {
            return stem;
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dated_name_costs_what_its_undated_one_does() {
        let table = [
            ("openai:gpt-4o-2024-08-06", "openai:gpt-4o"),
            ("anthropic:claude-sonnet-4-20250514", "anthropic:claude-sonnet-4"),
            ("openai:gpt-4o-mini", "openai:gpt-4o-mini"),
            ("openai:gpt-4o-2024-08", "openai:gpt-4o-2024-08"),
            ("a", "a"),
        ];
        for (name, stem) in table {
            assert_eq!(undated(name), stem);
        }
    }

    #[test]
    fn a_price_holds_from_its_day_on_and_every_day_exists() {
        let before = "2024-10-01T23:59:59Z".parse().unwrap();
        let after = "2024-10-02T00:00:00Z".parse().unwrap();

        assert_eq!(find("gpt-4o", before), None);
        assert_eq!(find("gpt-4o", after).map(|rates| rates.output), Some(10_000_000));
        assert!(PLATFORM.iter().all(|price| price.effective_from().timestamp() > 0));
    }

    /// Worked out by hand from the providers' pages: cached input, what is written to the cache and reasoning included.
    #[test]
    fn hand_worked_calls_of_each_provider_cost_what_they_should() {
        let table: [(&str, [u64; 5], i64); 6] = [
            // 1200 at 2, 800 cached at 0.5, 300 said and 700 thought at 8 dollars a million.
            ("openai:o3", [1_200, 800, 0, 300, 700], 2_400 + 400 + 2_400 + 5_600),
            // 7 at 0.1 and 3 at 0.4: 1.9 millionths.
            ("openai:gpt-4.1-nano", [7, 0, 0, 3, 0], 2),
            // 10 at 3, 2000 read at 0.3, 1500 written at 3.75, 400 at 15.
            ("anthropic:claude-sonnet-4-5", [10, 2_000, 1_500, 400, 0], 30 + 600 + 5_625 + 6_000),
            // 333 at 1, 1 written at 1.25, one said and one thought at 5: 344.25.
            ("anthropic:claude-haiku-4-5-20251001", [333, 0, 1, 1, 1], 344),
            // 1001 at 0.3, 999 cached at 0.075, 50 said and 450 thought at 2.5: 1625.225.
            ("gemini:gemini-2.5-flash", [1_001, 999, 0, 50, 450], 1_625),
            // 5 at 0.1 is half a millionth, which counts as one.
            ("gemini:gemini-2.5-flash-lite", [5, 0, 0, 0, 0], 1),
        ];
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        for (name, [input, read, written, said, thought], cost) in table {
            let usage = shared_models::Usage {
                input_tokens: input,
                cache_read_tokens: read,
                cache_write_tokens: written,
                output_tokens: said,
                reasoning_tokens: thought,
            };
            let priced = find(name, now).and_then(|rates| rates.cost(&usage));
            assert_eq!(priced, Some(shared_models::MicroUsd(cost)), "{name}");
        }
    }
}
