//! The state of a run, as its new owner takes it over.

use std::sync::Arc;

use agentcore::{Happened, step};
use shared_models::{Effect, EffectState, MicroUsd};

use super::tree::Tree;
use super::{Fresh, Run, acting, doubt, naps};
use crate::app::App;
use crate::call_key;
use crate::catalogue::Pinned;
use crate::error::Error;
use crate::going_on::Rested;
use crate::store::queue::Claimed;
use crate::store::{clock, effect};
use crate::transcript::{self, Told};

pub(super) struct Loaded {
    pub(super) snapshot: Arc<Pinned>,
    pub(super) driven: Driven,
    /// A worker has had it before.
    pub(super) started: bool,
    /// It has waited, and nobody was told that it goes on.
    pub(super) rested: Option<Rested>,
    /// What the replies cost so far.
    pub(super) cost: Option<MicroUsd>,
}

/// What is to be driven.
pub(super) enum Driven {
    Alone(Box<Run>),
    Tree(Box<Tree>),
}

/// A run of which nothing has happened yet. Only runs of single agents begin like this.
pub(super) fn fresh(Fresh { pinned, input }: Fresh) -> Loaded {
    let mut state = transcript::opening(&pinned);
    step(&mut state, Happened::Started { input: vec![input] });
    let driven = Driven::Alone(Box::new(Run::new(state)));
    Loaded {
        snapshot: pinned,
        driven,
        started: false,
        rested: None,
        cost: Some(MicroUsd::default()),
    }
}

pub(super) async fn load(app: &App, claimed: &Claimed) -> Result<Loaded, Error> {
    let mut tx = app.db.begin(claimed.tenant).await?;
    let (snapshot, mut told) = transcript::read(&mut tx, claimed.run, claimed.root).await?;
    let effects = effect::list(&mut tx, claimed.run).await?;
    if told.members.values().any(naps::any) {
        let now = clock::now(&mut tx).await?;
        told.members.values_mut().for_each(|told| told.naps = naps::of(told, now));
    }
    drop(tx);
    let (started, rested, cost) = (told.started, told.rested, told.cost);
    let driven = if let Some(swarm) = &snapshot.swarm {
        Driven::Tree(Box::new(Tree::new(told, &swarm.members, effects)))
    } else {
        let mut run = Run::new(told.alone());
        run.known = effects.into_iter().map(|row| (row.call_id.clone(), row)).collect();
        run.recall(told.members.remove(&agentcore::swarm::Path::root()).unwrap_or_default());
        run.sort_out("", app);
        Driven::Alone(Box::new(run))
    };
    let snapshot = Arc::new(Pinned::new(snapshot, 0));
    Ok(Loaded { snapshot, driven, started, rested, cost })
}

impl Run {
    /// Takes in what the journal says beside the conversation itself.
    pub(super) fn recall(&mut self, told: Told) {
        self.doubts = told.doubts;
        self.probing = told.probing;
        self.waiting = told.waiting;
        self.naps = told.naps;
        self.approved = told.approved;
        self.unmatched = told.unmatched;
        self.let_through = told.let_through;
        self.found = told.found;
        self.output = told.output;
    }

    /// Finds the calls whose outcome an owner before us took with it, where a repeat would do harm. That owner may still
    /// be at it, so they are in doubt only when it must have given up.
    pub(super) fn sort_out(&mut self, path: &str, app: &App) {
        if !acting(&self.state) {
            return;
        }
        let open: Vec<String> = self.state.unanswered().map(|call| call.id.clone()).collect();
        for call in open
            .into_iter()
            .filter(|call| !self.doubts.contains_key(call) && !self.waiting.contains_key(call))
        {
            let Some(known) = self.known.get(&call_key::key(path, &call)) else { continue };
            if known.state() == EffectState::Sent && known.effect() == Effect::Unsafe {
                self.lingering.insert(call, doubt::lingers(known, app.runs.lease));
            }
        }
    }
}
