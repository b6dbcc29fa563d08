//! What one measurement came to.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// Everything one repeat saw.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// One per answer that was right, in microseconds.
    pub(crate) latencies: Vec<u32>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Wrong answers, by what was wrong.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// One line of the table: a repeat, or the medians of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    /// How many answers the figure rests on.
    #[serde(default)]
    pub(crate) count: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) errors: BTreeMap<String, u64>,
    /// Anything else, by name; `cpu … ms` is processor time per answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) more: BTreeMap<String, f64>,
    /// The rate of each repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) repeats: Vec<f64>,
}

impl Sample {
    /// Notes an answer.
    pub(crate) fn answered(&mut self, since: Instant) {
        self.latencies.push(since.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
    }

    /// Notes a wrong answer.
    pub(crate) fn failed(&mut self, what: impl Into<String>) {
        *self.errors.entry(what.into()).or_default() += 1;
    }

    /// Adds what another worker saw at the same time.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (what, count) in other.errors {
            *self.errors.entry(what).or_default() += count;
        }
    }

    /// The rate of right answers.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The figure of this repeat.
    pub(crate) fn figure(mut self) -> Figure {
        self.latencies.sort_unstable();
        Figure {
            per_second: Some(self.rate()),
            p50_ms: percentile(&self.latencies, 50.0),
            p99_ms: percentile(&self.latencies, 99.0),
            count: self.latencies.len() as u64,
            errors: self.errors,
            ..Figure::default()
        }
    }
}

impl Figure {
    /// A figure that is nothing but named values.
    pub(crate) fn of(values: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        let more = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { more, ..Self::default() }
    }

    /// A figure of latencies alone.
    pub(crate) fn of_latencies(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let (p50_ms, p99_ms) = (percentile(&micros, 50.0), percentile(&micros, 99.0));
        Self { p50_ms, p99_ms, count: micros.len() as u64, ..Self::default() }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// The median of each value over repeats; errors are added up.
    pub(crate) fn median(repeats: Vec<Self>) -> Self {
        let middle =
            |value: fn(&Self) -> Option<f64>| median(repeats.iter().filter_map(value).collect());
        let mut errors = BTreeMap::new();
        let mut more: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for repeat in &repeats {
            for (what, count) in &repeat.errors {
                *errors.entry(what.clone()).or_default() += count;
            }
            for (name, value) in &repeat.more {
                more.entry(name.clone()).or_default().push(*value);
            }
        }
        let more = more.into_iter().filter_map(|(name, values)| Some((name, median(values)?)));
        Self {
            per_second: middle(|figure| figure.per_second),
            p50_ms: middle(|figure| figure.p50_ms),
            p99_ms: middle(|figure| figure.p99_ms),
            count: repeats.iter().map(|figure| figure.count).sum(),
            errors,
            more: more.collect(),
            repeats: repeats.iter().filter_map(|figure| figure.per_second).collect(),
        }
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// In milliseconds, of sorted microseconds.
fn percentile(sorted: &[u32], percent: f64) -> Option<f64> {
    let place = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    let micros = sorted.get(place.saturating_sub(1))?;
    Some(f64::from(*micros) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let micros: Vec<u32> = (1..=200).map(|n| n * 1_000).collect();

        assert_eq!(percentile(&micros, 50.0), Some(100.0));
        assert_eq!(percentile(&micros, 99.0), Some(198.0));
        assert_eq!(percentile(&[7_000], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn repeats_become_medians_and_their_errors_a_sum() {
        let repeat = |rate: f64, error: u64| Figure {
            per_second: Some(rate),
            count: 10,
            errors: BTreeMap::from([("503".to_owned(), error)]),
            ..Figure::default()
        };

        let figure = Figure::median(vec![repeat(30.0, 1), repeat(10.0, 0), repeat(20.0, 2)]);

        assert_eq!(figure.per_second, Some(20.0));
        assert_eq!((figure.count, figure.errors["503"]), (30, 3));
        assert_eq!(figure.repeats, [30.0, 10.0, 20.0]);
    }
}
