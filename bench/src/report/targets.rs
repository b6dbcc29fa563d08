//! What is to be reached, and what each figure is compared with.

use serde::Serialize;

use crate::figure::Figure;

/// A target and how the figure stands to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    pub(super) target: String,
    pub(super) met: bool,
    pub(super) seen: f64,
}

enum Wanted {
    Rate(f64),
    P50(f64),
    P99(f64),
    /// A named value that must not be larger.
    AtMost(&'static str, f64),
    /// So much of the rate of something else.
    Share(f64, &'static str),
}

use Wanted::{AtMost, P50, P99, Rate, Share};

/// The targets of a row. Those of the durable runs are for the door where they are carried out.
fn wanted(group: &str, name: &str) -> Vec<Wanted> {
    match (group, name) {
        ("webhook intake", name) if name.ends_with(" 64 connections") => {
            if name.starts_with("eventsvc") {
                vec![Rate(12_000.0), P99(20.0), Share(1.0, "axum + insert, 64 connections")]
            } else {
                vec![Rate(8_000.0)]
            }
        }
        ("event to run", name) if name.contains("first journal entry") => {
            vec![P50(4.0), P99(25.0)]
        }
        ("durable runs", "engine door, idempotent tool, 1 in flight") => vec![P50(4.0)],
        ("durable runs", "engine door, idempotent tool, 64 in flight") => {
            vec![Rate(3_000.0), P50(21.0), P99(60.0)]
        }
        ("durable runs", "engine door, idempotent tool, 256 in flight") => vec![Rate(3_500.0)],
        ("library runs", "agentcore, 64 in flight, 1 thread(s)") => {
            vec![Share(1.0, "rig, 64 in flight, 1 thread(s)")]
        }
        ("live streams", name) if name.starts_with("1000") && name.ends_with("door") => {
            vec![AtMost("added p99 ms", 10.0)]
        }
        ("credentials", "lease of a credential, 32 connections") => {
            vec![Share(0.25, "Postgres select by key + AES-GCM open, 32 connections"), P99(5.0)]
        }
        ("timers", name) if name.starts_with("idle") => vec![AtMost("eventsvc cpu %", 2.0)],
        ("timers", name) if name.starts_with("due") => vec![P99(250.0)],
        ("journal", _) => vec![AtMost("journal / messages", 1.2)],
        ("waiting runs", name) if name.ends_with("wait") => vec![AtMost("engine cpu %", 2.0)],
        ("start", "switchyard up, warm") => {
            vec![AtMost("start s", 1.5), AtMost("memory MB", 80.0)]
        }
        _ => Vec::new(),
    }
}

/// The row whose rate a rate is a multiple of.
pub(super) fn against(group: &str, name: &str) -> Option<String> {
    let tail = |name: &str| name.rsplit_once(", ").map(|(_, tail)| tail.to_owned());
    match group {
        "webhook intake" | "webhook intake, sustained" => {
            Some(format!("axum + insert, {}", tail(name)?))
        }
        "webhook to answer" if name.starts_with("switchyard") => {
            Some(format!("n8n, {}", tail(name)?))
        }
        "credentials" => Some(format!("Postgres select by key + AES-GCM open, {}", tail(name)?)),
        "durable runs" if name.contains(" 1 in flight") => {
            Some("axum + insert, 1 connections".into())
        }
        "durable runs" if name.contains(" 64 in flight") => {
            Some("axum + insert, 64 connections".into())
        }
        "durable runs" => Some("axum + insert, 256 connections".into()),
        "library runs" => {
            let (_, rest) = name.split_once(", ")?;
            Some(format!("rig, {rest}")).filter(|other| other != name)
        }
        _ => None,
    }
}

/// How the figure stands to each of its targets; what it is measured against may not have been measured.
pub(super) fn verdicts(
    group: &str,
    name: &str,
    figure: &Figure,
    rate_of: &impl Fn(&str) -> Option<f64>,
) -> Vec<Verdict> {
    wanted(group, name).iter().filter_map(|wanted| verdict(wanted, figure, rate_of)).collect()
}

fn verdict(
    wanted: &Wanted,
    figure: &Figure,
    rate_of: &impl Fn(&str) -> Option<f64>,
) -> Option<Verdict> {
    let at_least =
        |seen: f64, least: f64, target: String| Verdict { target, met: seen >= least, seen };
    let at_most =
        |seen: f64, most: f64, target: String| Verdict { target, met: seen <= most, seen };
    Some(match wanted {
        Rate(least) => at_least(figure.per_second?, *least, format!("≥ {least}/s")),
        P50(most) => at_most(figure.p50_ms?, *most, format!("p50 ≤ {most} ms")),
        P99(most) => at_most(figure.p99_ms?, *most, format!("p99 ≤ {most} ms")),
        AtMost(value, most) => {
            at_most(*figure.more.get(*value)?, *most, format!("{value} ≤ {most}"))
        }
        Share(share, other) => {
            let seen = figure.per_second? / rate_of(other)?;
            at_least(seen, *share, format!("≥ {share} × {other}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_judged_by_what_was_measured_beside_it() {
        let figure = Figure { per_second: Some(9_000.0), p99_ms: Some(4.0), ..Figure::default() };
        let name = "lease of a credential, 32 connections";
        let select = |name: &str| name.starts_with("Postgres select").then_some(30_000.0);

        let seen = verdicts("credentials", name, &figure, &select);
        let alone = verdicts("credentials", name, &figure, &|_| None);

        assert_eq!(seen.iter().map(|verdict| verdict.met).collect::<Vec<_>>(), [true, true]);
        assert_eq!((seen[0].seen * 100.0).round() as u32, 30);
        assert_eq!(alone.len(), 1);
        let other = against("credentials", name);
        assert_eq!(other.as_deref(), Some("Postgres select by key + AES-GCM open, 32 connections"));
    }
}
