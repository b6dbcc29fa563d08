//! Runs that work for members. They end with the conversation that they work for, and with the tree at the latest.
//!
//! Which they are is read from the database and not from what members know: one that is taken from its work may just have made
//! one, and whoever drove the tree before us may have ended before those of others were stopped.

use agentcore::swarm::Path;
use futures::FutureExt as _;
use shared_models::ToolKind;

use super::Drive;
use super::job::Done;
use super::member::OVER;
use crate::drive::waits;

#[derive(Default)]
pub(super) struct Below {
    /// Conversations that have ended, of which runs may be left.
    left: Vec<String>,
    /// Those of others are just being stopped.
    stopping: bool,
}

impl Below {
    /// Whether runs may be left that nobody has been told to stop.
    pub(super) fn is_open(&self) -> bool {
        self.stopping || !self.left.is_empty()
    }

    /// Of a conversation that has ended, runs may be left.
    pub(super) fn leave(&mut self, path: &Path) {
        self.left.push(path.to_string());
    }

    pub(super) fn stopped(&mut self) {
        self.stopping = false;
    }
}

impl Drive<'_> {
    /// Sees to what a process before us may have left behind: all conversations that have ended and can have had a run made.
    pub(super) fn look_below(&mut self) {
        if self.cx.claimed.epoch <= 1 {
            return;
        }
        let all = self.tree.state.conversations().into_iter();
        let ended = all.filter(|(_, of)| of.outcome().is_some()).map(|(path, _)| path);
        for path in ended.collect::<Vec<_>>() {
            let agent = self.agent_at(&path);
            if agent.is_some_and(|of| of.tools.iter().any(|tool| tool.kind == ToolKind::Agent)) {
                self.below.leave(&path);
            }
        }
    }

    /// Stops the runs that have worked for conversations which have ended.
    pub(super) fn stop_below(&mut self) {
        if self.below.stopping || self.below.left.is_empty() {
            return;
        }
        self.below.stopping = true;
        let (cx, paths) = (self.cx, std::mem::take(&mut self.below.left));
        let job = async move {
            Done::Stopped(waits::cancel_children_at(cx.app, cx.claimed, &paths, OVER).await)
        };
        self.jobs.push(job.boxed());
    }
}
