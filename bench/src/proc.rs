//! What processes cost: processor time and memory, as the kernel counts them. Elsewhere than on Linux nothing is known.

use std::collections::BTreeMap;

/// The kernel reports processor time in hundredths of a second, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processes by what they are called in the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes(Vec<(String, u32, With)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Children,
    Nobody,
}

impl Processes {
    /// Adds one by itself.
    pub(crate) fn add(&mut self, name: &str, pid: u32) {
        self.0.push((name.to_owned(), pid, With::Nobody));
    }

    /// Adds one whose children count as itself.
    pub(crate) fn add_family(&mut self, name: &str, pid: u32) {
        self.0.push((name.to_owned(), pid, With::Children));
    }

    #[must_use]
    pub(crate) fn and(&self, name: &str, pid: u32) -> Self {
        let mut more = self.clone();
        more.add(name, pid);
        more
    }

    /// Processor seconds of each so far.
    pub(crate) fn cpu(&self) -> BTreeMap<String, f64> {
        let stats = all();
        let mut seconds = BTreeMap::new();
        for (name, pid, with) in &self.0 {
            let children = *with == With::Children;
            let own = stats.iter().filter(|stat| stat.pid == *pid);
            let own = own.map(|stat| stat.own + if children { stat.ended_children } else { 0 });
            let theirs = stats.iter().filter(|stat| children && stat.parent == *pid);
            let ticks: u64 = own.chain(theirs.map(|stat| stat.own)).sum();
            *seconds.entry(name.clone()).or_default() += ticks as f64 / TICKS_PER_SECOND;
        }
        seconds
    }

    /// Resident memory of each, in megabytes.
    pub(crate) fn memory(&self) -> BTreeMap<String, f64> {
        let known = |(name, pid, _): &(String, u32, With)| Some((name.clone(), resident_mb(*pid)?));
        self.0.iter().filter_map(known).collect()
    }
}

/// Processor milliseconds per answer since `before`, by process and together.
pub(crate) fn cpu_each(
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
    answers: u64,
) -> BTreeMap<String, f64> {
    let each = |name: &String, seconds: f64| {
        let spent = seconds - before.get(name).copied().unwrap_or_default();
        spent * 1_000.0 / (answers.max(1) as f64)
    };
    let mut costs: BTreeMap<String, f64> = after
        .iter()
        .map(|(name, seconds)| (format!("cpu {name} ms"), each(name, *seconds)))
        .collect();
    let total = costs.values().sum();
    costs.insert("cpu all ms".into(), total);
    costs
}

/// Resident memory of a process, in megabytes.
pub(crate) fn resident_mb(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1_024.0)
}

struct Stat {
    pid: u32,
    parent: u32,
    own: u64,
    ended_children: u64,
}

fn all() -> Vec<Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let text = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            stat(pid, &text)
        })
        .collect()
}

/// Reads `/proc/<pid>/stat`; the name in parentheses may contain anything.
fn stat(pid: u32, text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok());
    Some(Stat {
        pid,
        parent: number(1)?.try_into().ok()?,
        own: number(11)? + number(12)?,
        ended_children: number(13)? + number(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_account_of_a_process_is_read_past_an_odd_name() {
        let text = "7 (a) b (c)) S 3 7 7 0 -1 4194560 100 200 0 0 12 34 5 6 20 0 1 0 99";

        let stat = stat(7, text).unwrap();

        assert_eq!((stat.parent, stat.own, stat.ended_children), (3, 46, 11));
    }

    #[test]
    fn a_cost_is_what_was_spent_meanwhile() {
        let at = |seconds| BTreeMap::from([("engine".to_owned(), seconds)]);

        let costs = cpu_each(&at(1.0), &at(3.0), 1_000);

        assert_eq!(costs["cpu engine ms"].to_bits(), 2.0_f64.to_bits());
        assert_eq!(costs["cpu all ms"].to_bits(), 2.0_f64.to_bits());
    }
}
