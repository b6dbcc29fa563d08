use crate::{bench::Bench, figure::Figure, fleet::Fleet};

/// Right after the services have become ready.
pub(super) fn idle(bench: &mut Bench, fleet: &Fleet) {
    now(bench, fleet, "idle, each service a process");
}

/// After everything that was measured.
pub(super) fn loaded(bench: &mut Bench, fleet: &Fleet) {
    now(bench, fleet, "after all measurements");
}

/// Resident memory of our processes.
pub(super) fn now(bench: &mut Bench, fleet: &Fleet, when: &str) {
    let memory = fleet.own_processes().memory();
    let total = memory.values().sum();
    let mut figure = Figure::default().with("memory MB", total);
    for (name, megabytes) in memory {
        figure = figure.with(&format!("{name} MB"), megabytes);
    }
    bench.report.row("memory", when, figure);
}
