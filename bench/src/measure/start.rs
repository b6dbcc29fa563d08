use std::{collections::BTreeMap, time::Instant};

use nix::sys::signal::Signal;

use crate::{bench::Bench, figure::Figure, proc::resident_mb, process::Program};

/// `switchyard up` from its start to the line that says it is ready: with nothing there yet, and again.
pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let cold = once(bench, dir.path(), "up-cold").await?;
    bench.report.row("start", "switchyard up, first time", cold);
    let mut repeats = Vec::new();
    for n in 0..bench.plan.repeats {
        repeats.push(once(bench, dir.path(), &format!("up-{n}")).await?);
    }
    bench.report.row("start", "switchyard up, warm", Figure::median(repeats));
    Ok(())
}

async fn once(bench: &Bench, dir: &std::path::Path, name: &str) -> anyhow::Result<Figure> {
    let arguments = ["up", "--listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
    let program = Program { path: &bench.switchyard, arguments, vars: BTreeMap::new(), dir };
    crate::progress(name);
    let started = Instant::now();
    let mut up = program.start(name)?;
    up.line("Ctrl-C stops everything").await?;
    let seconds = started.elapsed().as_secs_f64();
    let memory = resident_mb(up.pid()).unwrap_or_default();
    up.stop(Signal::SIGINT).await?;
    Ok(Figure::of([("start s", seconds), ("memory MB", memory)]))
}
