//! The state of a run, as its new owner takes it over.

use std::sync::Arc;

use agentcore::{Happened, step};
use shared_models::{Effect, EffectState};

use super::{Fresh, Run, acting, doubt};
use crate::app::App;
use crate::catalogue::Pinned;
use crate::committer::printable;
use crate::error::Error;
use crate::store::effect;
use crate::store::queue::Claimed;
use crate::transcript;

pub(super) struct Loaded {
    pub(super) snapshot: Arc<Pinned>,
    pub(super) run: Run,
    /// A worker has had it before.
    pub(super) started: bool,
}

/// A run of which nothing has happened yet.
pub(super) fn fresh(Fresh { pinned, input }: Fresh) -> Loaded {
    let mut state = transcript::opening(&pinned);
    step(&mut state, Happened::Started { input: vec![input] });
    Loaded { snapshot: pinned, run: Run::new(state), started: false }
}

pub(super) async fn load(app: &App, claimed: &Claimed) -> Result<Loaded, Error> {
    let mut tx = app.db.begin(claimed.tenant).await?;
    let (snapshot, told) = transcript::read(&mut tx, claimed.run, claimed.root).await?;
    let effects = effect::list(&mut tx, claimed.run).await?;
    drop(tx);
    let mut run = Run::new(told.state);
    run.known = effects.into_iter().map(|row| (row.call_id.clone(), row)).collect();
    run.doubts = told.doubts;
    run.waiting = told.waiting;
    run.found = told.found;
    run.output = told.output;
    run.cost = told.cost;
    sort_out(&mut run, app);
    let snapshot = Arc::new(Pinned::new(snapshot, 0));
    Ok(Loaded { snapshot, run, started: told.started })
}

/// Finds the calls whose outcome an owner before us took with it, where a repeat would do harm. That owner may still be
/// at it, so they are in doubt only when it must have given up.
fn sort_out(run: &mut Run, app: &App) {
    if !acting(&run.state) {
        return;
    }
    let open: Vec<String> = run.state.unanswered().map(|call| call.id.clone()).collect();
    for call in open.into_iter().filter(|call| !run.doubts.contains_key(call)) {
        let Some(known) = run.known.get(&printable(&call)) else { continue };
        if known.state() == EffectState::Sent && known.effect() == Effect::Unsafe {
            run.lingering.insert(call, doubt::lingers(known, app.runs.lease));
        }
    }
}
