//! One run of the benchmark: what everything is measured with, and what came of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    figure::Figure,
    load::{self, Plan, Traffic},
    proc::{Processes, cpu_each},
    process::{Process, Program},
    report::Report,
};

/// How long a load without a pause is kept up, and in how many parts it is looked at.
const SUSTAINED: Duration = Duration::from_secs(60);
const SUSTAINED_QUICK: Duration = Duration::from_secs(2);
const PARTS: u32 = 6;

/// More than any door answers in a second.
const FASTEST: f64 = 40_000.0;

pub(crate) struct Bench {
    pub(crate) plan: Plan,
    pub(crate) quick: bool,
    /// Postgres notes what each statement takes, which costs a little by itself.
    pub(crate) statements: bool,
    /// The binary under test.
    pub(crate) switchyard: PathBuf,
    /// Where children run and log.
    pub(crate) dir: PathBuf,
    pub(crate) report: Report,
    mock: Process,
    /// Where the mock answers.
    pub(crate) mock_at: SocketAddr,
}

impl Bench {
    pub(crate) async fn start(
        bin_dir: &Path,
        dir: &Path,
        (quick, statements): (bool, bool),
        report: Report,
    ) -> anyhow::Result<Self> {
        let switchyard = bin_dir.join("switchyard");
        anyhow::ensure!(switchyard.exists(), "{} is missing: build it", switchyard.display());
        let switchyard = std::path::absolute(switchyard)?;
        let mut mock = own("mock", dir, vec!["mock".into()])?;
        let mock_at = mock.address().await?;
        let plan = if quick { Plan::QUICK } else { Plan::FULL };
        let dir = dir.to_owned();
        Ok(Self { plan, quick, statements, switchyard, dir, report, mock, mock_at })
    }

    /// The processes that take part, and the mock.
    pub(crate) fn with_mock(&self, processes: &Processes) -> Processes {
        processes.and("mock", self.mock.pid())
    }

    /// Another of our own processes.
    pub(crate) fn own(&self, name: &str, arguments: Vec<String>) -> anyhow::Result<Process> {
        own(name, &self.dir, arguments)
    }

    /// Runs one of our own processes that measures by itself; gives its figure.
    pub(crate) async fn told(&self, arguments: Vec<String>) -> anyhow::Result<Figure> {
        let path = myself()?;
        let program = Program { path: &path, arguments, vars: BTreeMap::new(), dir: &self.dir };
        let output = program.output().await?;
        let line = output.lines().last().context("a child said nothing")?;
        serde_json::from_str(line).context("a child's figure cannot be read")
    }

    /// Warms up, then measures as often as the plan says: `make` gives the traffic for so many requests, `after` is done
    /// after each repeat, and may add to its figure. The warm-up has one too.
    pub(crate) async fn measure<T: Traffic>(
        &self,
        (address, connections): (SocketAddr, usize),
        plan: Plan,
        processes: &Processes,
        mut make: impl FnMut(usize) -> T,
        mut after: impl AsyncFnMut(Figure) -> anyhow::Result<Figure>,
    ) -> anyhow::Result<Figure> {
        let most = (FASTEST * plan.warm_up.as_secs_f64()) as usize;
        let warm = load::closed_loop(address, connections, most, plan.warm_up, make(most).into());
        let warm = warm.await?.figure();
        let mut rate = warm.per_second.unwrap_or_default();
        after(warm).await?;
        let mut repeats = Vec::with_capacity(plan.repeats);
        for _ in 0..plan.repeats {
            let total = plan.requests(rate).max(connections * 2);
            let traffic = make(total).into();
            let limit = plan.measure * 4 + Duration::from_secs(1);
            let before = processes.cpu();
            let sample = load::closed_loop(address, connections, total, limit, traffic).await?;
            let costs = cpu_each(&before, &processes.cpu(), sample.latencies.len() as u64);
            let mut figure = sample.figure();
            figure.more.extend(costs);
            rate = figure.per_second.unwrap_or(rate);
            repeats.push(after(figure).await?);
        }
        Ok(Figure::median(repeats))
    }

    /// How long a load without a pause is kept up, in words.
    pub(crate) fn sustained(&self) -> String {
        format!("{} s on end", self.span().as_secs())
    }

    fn span(&self) -> Duration {
        if self.quick { SUSTAINED_QUICK } else { SUSTAINED }
    }

    /// Keeps a load up: the rate of each part, the medians of their latencies, and processor time over all of it.
    pub(crate) async fn without_pause<T: Traffic>(
        &self,
        (address, connections): (SocketAddr, usize),
        processes: &Processes,
        mut make: impl FnMut(usize) -> T,
    ) -> anyhow::Result<Figure> {
        let part = self.span() / PARTS;
        let (mut rate, mut parts, mut spent) = (FASTEST, Vec::new(), 0.0);
        let before = processes.cpu();
        for _ in 0..PARTS {
            let most = (rate * part.as_secs_f64()) as usize;
            let sample =
                load::closed_loop(address, connections, most, part, make(most).into()).await?;
            spent += sample.elapsed.as_secs_f64();
            // Enough for a part, and made in no time.
            rate = (2.0 * sample.rate()).clamp(1_000.0, FASTEST);
            parts.push(sample.figure());
        }
        let mut figure = Figure::median(parts);
        figure.per_second = Some(figure.count as f64 / spent);
        figure.more.extend(cpu_each(&before, &processes.cpu(), figure.count));
        Ok(figure)
    }
}

fn own(name: &str, dir: &Path, arguments: Vec<String>) -> anyhow::Result<Process> {
    let path = myself()?;
    Program { path: &path, arguments, vars: BTreeMap::new(), dir }.start(name)
}

fn myself() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find this program")
}
