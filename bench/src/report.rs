//! The table, the JSON, and the targets beside the figures.

mod machine;
mod targets;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::Serialize;

use crate::figure::Figure;
use targets::Verdict;

/// Everything that one invocation measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    date: String,
    kind: &'static str,
    machine: machine::Machine,
    /// What was set otherwise than by default, and how it was measured.
    notes: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    group: String,
    name: String,
    #[serde(flatten)]
    figure: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<Ratio>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<Verdict>,
}

/// A rate over that of something raw, or of a peer.
#[derive(Clone, Debug, Serialize)]
struct Ratio {
    of: String,
    value: f64,
}

impl Report {
    pub(crate) fn new(kind: &'static str, notes: Vec<String>) -> Self {
        let date = machine::date();
        Self { date, kind, machine: machine::Machine::here(), notes, rows: Vec::new() }
    }

    /// Adds a line.
    pub(crate) fn row(&mut self, group: &str, name: &str, figure: Figure) {
        let (group, name) = (group.to_owned(), name.to_owned());
        self.rows.push(Row { group, name, figure, ratio: None, targets: Vec::new() });
    }

    /// Compares what can be compared, now that all is known.
    pub(crate) fn finish(&mut self) {
        for place in 0..self.rows.len() {
            let row = &self.rows[place];
            let ratio = targets::against(&row.group, &row.name).and_then(|other| {
                let theirs = self.rate_of(&other)?;
                Some(Ratio { value: row.figure.per_second? / theirs, of: other })
            });
            let rate_of = |name: &str| self.rate_of(name);
            let verdicts = targets::verdicts(&row.group, &row.name, &row.figure, &rate_of);
            let row = &mut self.rows[place];
            (row.ratio, row.targets) = (ratio, verdicts);
        }
    }

    /// Writes it beside its predecessors; gives the file.
    pub(crate) fn save(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(dir)?;
        let name = format!("{}-{}.json", self.date.replace(':', ""), self.kind);
        let path = dir.join(name);
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{} · {}\n", self.date, self.machine);
        for note in &self.notes {
            let _ = writeln!(text, "  {note}");
        }
        let mut groups: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !groups.contains(&&*row.group) {
                groups.push(&row.group);
            }
        }
        for group in groups {
            let _ = writeln!(text, "\n{group:<62}{:>9}{:>9}{:>9}", "per s", "p50 ms", "p99 ms");
            let rows = self.rows.iter().filter(|row| row.group == group);
            rows.for_each(|row| row.write(&mut text));
        }
        let met = self.rows.iter().flat_map(|row| &row.targets);
        let (met, missed): (Vec<_>, Vec<_>) = met.partition(|verdict| verdict.met);
        let _ = writeln!(text, "\ntargets: {} met, {} missed", met.len(), missed.len());
        text
    }

    fn rate_of(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name).and_then(|row| row.figure.per_second)
    }
}

impl Row {
    fn write(&self, text: &mut String) {
        let figure = &self.figure;
        let rate = figure.per_second.map_or("-".into(), |rate| format!("{rate:.0}"));
        let time = |millis: Option<f64>| millis.map_or("-".into(), |millis| format!("{millis:.2}"));
        let (p50, p99) = (time(figure.p50_ms), time(figure.p99_ms));
        let _ = write!(text, "  {:<60}{rate:>9}{p50:>9}{p99:>9}", self.name);
        if let Some(Ratio { of, value }) = &self.ratio {
            let _ = write!(text, "  {value:.2} × {of}");
        }
        text.push('\n');
        if !figure.more.is_empty() {
            let more = figure
                .more
                .iter()
                .filter(|(name, value)| !name.starts_with("cpu ") || **value >= 0.005);
            let more: Vec<String> =
                more.map(|(name, value)| format!("{name} {}", short(*value))).collect();
            let _ = writeln!(text, "      {}", more.join(" · "));
        }
        for Verdict { target, met, seen } in &self.targets {
            let word = if *met { "met" } else { "MISSED" };
            let _ = writeln!(text, "      target {target}: {word} ({})", short(*seen));
        }
        if !figure.errors.is_empty() {
            let mut worst: Vec<_> = figure.errors.iter().collect();
            worst.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (what, count) in worst.into_iter().take(3) {
                let _ = writeln!(text, "      ERRORS {count} × {what}");
            }
        }
    }
}

/// A number with as many digits as matter.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
