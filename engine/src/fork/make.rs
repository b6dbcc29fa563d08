//! Making a fork, in one transaction.

use std::time::Duration;

use agentcore::Message;
use anyhow::Context as _;
use dbutil::TenantTx;
use shared_models::{RunId, RunMode, UserId};

use super::change::Change;
use super::edits::{Edits, Point};
use super::given::Given;
use super::source::Source;
use super::swarm::{self, Said};
use super::{Made, Unmatched, open, prefix};
use crate::app::App;
use crate::create::{self, NewRun, Opening};
use crate::error::Error;
use crate::record::{ContentRef, Record};
use crate::replay;
use crate::snapshot;
use crate::store::run_link::{self, Link};
use crate::store::{content, fork, run};
use crate::visibility::Viewer;

/// How a run is forked.
pub(crate) struct Asked {
    pub(crate) from: Point,
    pub(crate) edits: Edits,
    /// The edited input.
    pub(crate) input: Option<Message>,
    pub(crate) mode: RunMode,
    pub(crate) unmatched: Unmatched,
    /// Calls of a live run that the other one may have made are made again.
    pub(crate) repeat_open_calls: bool,
    pub(crate) deadline: Option<Duration>,
}

impl Asked {
    /// Whether whoever asks could have the run tell what was said to others: something is changed, and calls may be made.
    pub(crate) fn may_tell(&self) -> bool {
        let makes_calls = self.mode.is_live() || self.unmatched != Unmatched::Refuse;
        makes_calls && self.edits != Edits::default()
    }
}

/// Makes a run that goes on from where another one stood; gives it, and the last record that stands.
pub(crate) async fn make(
    app: &App,
    tx: &mut TenantTx,
    (viewer, initiator): (&Viewer, UserId),
    row: &run::Row,
    asked: &Asked,
) -> Result<(RunId, i64), Error> {
    if row.evaluation_id.is_some() && asked.mode.is_live() {
        return Err(Error::RunNotForkable("it is an evaluation's, and is forked dry only"));
    }
    asked.edits.fit(row.swarm_id.is_some())?;
    let source = Source::read(tx, row).await?;
    let seq = source.cut(&asked.from)?;
    let given = Given::resolve(&source, seq, asked.mode, &asked.edits.tool_results)?;
    if asked.mode.is_live() && !asked.repeat_open_calls {
        open::check(&source, seq, &given)?;
    }
    let now = match &source.snapshot.swarm {
        None => snapshot::for_viewer(tx, viewer, row.agent_id, asked.edits.agent_version).await?,
        Some(was) => swarm::now(tx, viewer, was, &asked.edits).await?,
    };
    let (reference, input) = told(tx, row, &source, asked.input.as_ref()).await?;
    let new = NewRun {
        run: RunId::mint(),
        principal: now.owner,
        initiator: Some(initiator),
        firing: None,
        input,
        traceparent: servicekit::trace::outgoing(),
        deadline: asked.deadline,
        end_user: row.end_user_id.clone(),
        place: None,
        variables: source.snapshot.variables.clone(),
        evaluation: None,
    };
    let change = Change { source: &source.snapshot, now: &now, new: &new, asked };
    let mut snapshot = match &source.snapshot.swarm {
        None => change.agent(tx).await?,
        Some(was) => change.swarm(tx, was).await?,
    };
    if let Some(made) = &snapshot.swarm {
        swarm::check_given(viewer, made, &given)?;
    }
    snapshot.check_models(&app.models)?;
    let copies = prefix::copies(&source, seq, &given, |path| change.keeps_hooks(&snapshot, path));
    if snapshot.swarm.is_some() {
        let said = Said { input: (reference, &new.input), copies: &copies, given: &given };
        swarm::check_way(tx, row, (&source.snapshot, &snapshot), &asked.edits, &said).await?;
    }
    let calls = (!asked.mode.is_live()).then(|| calls(&source, &given));
    change.give_answers(&mut snapshot, source.summary.clone(), calls);
    let records = records(row.run_id, seq, asked, copies);
    let opening = Opening { input: reference, is_edited: asked.input.is_some(), mode: asked.mode };
    create::create_fork(tx, &app.runs, (&new, &snapshot), &opening, &records).await?;
    for (reference, body) in given.bodies() {
        fork::say(tx, new.run, reference, body).await?;
    }
    run_link::insert(tx, new.run, row.run_id, Link::Fork { seq }).await?;
    fork::keep(tx, new.run, row.root_run_id).await?;
    // The last thing: whoever writes to the other run's row waits for us from here on.
    if !fork::mark(tx, row.root_run_id).await? {
        return Err(Error::RunPruned(row.run_id));
    }
    Ok((new.run, seq))
}

/// What the run is told first, and how the journal refers to it.
async fn told(
    tx: &mut TenantTx,
    row: &run::Row,
    source: &Source,
    edited: Option<&Message>,
) -> Result<(ContentRef, Message), Error> {
    if let Some(message) = edited {
        let body = serde_json::to_vec(message).map_err(anyhow::Error::from)?;
        return Ok((ContentRef::of(&body), message.clone()));
    }
    let pruned = || Error::RunPruned(row.run_id);
    let reference = prefix::input(source).ok_or_else(pruned)?;
    let mut bodies = content::find(tx, row.root_run_id, &[reference]).await?;
    let body = bodies.remove(&reference).ok_or_else(pruned)?;
    Ok((reference, serde_json::from_slice(&body).context("the run's input")?))
}

fn calls(source: &Source, given: &Given) -> Vec<Made> {
    let calls = source.calls().into_iter().filter(|made| !made.is_passed_on).map(|made| {
        let edited = given.get(made.path, &made.call.id);
        Made {
            path: made.path.to_owned(),
            call_id: made.call.id.clone(),
            tool_name: made.call.name.clone(),
            arguments: replay::hash(&made.call.arguments),
            answer: edited.map(|result| result.message).or(made.answered.map(|(_, answer)| answer)),
            edited: edited.is_some(),
        }
    });
    calls.collect()
}

/// What stands in the journal behind the input.
fn records(
    of_run_id: RunId,
    seq: i64,
    asked: &Asked,
    copies: Vec<(String, Record)>,
) -> Vec<(String, Record)> {
    let forked = Record::Forked {
        of_run_id,
        seq,
        mode: asked.mode,
        unmatched: (!asked.mode.is_live()).then_some(asked.unmatched),
        edits: asked.edits.names(),
        copied: copies.len(),
    };
    std::iter::once((String::new(), forked)).chain(copies).collect()
}
