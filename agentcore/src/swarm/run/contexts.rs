//! What members know in common. Each has a level of its own, below that of the swarm it works in or the lead it works
//! for. Levels that were written at the same time are merged together, in the order in which their members began, so
//! that it makes no difference who was faster.

use crate::options::RunOptions;
use crate::run::{RunCx, Spent};
use crate::swarm::path::{Path, member_of};

pub(super) struct Contexts {
    root: RunCx,
    options: RunOptions,
    open: Vec<Level>,
    spent: Spent,
}

struct Level {
    path: Path,
    cx: RunCx,
    /// Set when the member is done: whether what it wrote counts.
    counts: Option<bool>,
}

impl Contexts {
    pub(super) fn new(root: RunCx, options: &RunOptions) -> Self {
        Self { root, options: options.clone(), open: Vec::new(), spent: Spent::default() }
    }

    /// The member's own view of the run.
    pub(super) fn enter(&mut self, path: &Path) -> RunCx {
        let Some((segment, parent)) = path.segments().split_last() else {
            return self.root.clone();
        };
        if let Some(level) = self.open.iter().find(|level| level.path == *path) {
            return level.cx.clone();
        }
        let parent = self.enter(&parent.iter().cloned().collect());
        let cx = parent.child().enter_as(segment, member_of(segment), &self.options);
        self.open.push(Level { path: path.clone(), cx: cx.clone(), counts: None });
        cx
    }

    /// A member, or a swarm within the swarm, is done.
    pub(super) fn ended(&mut self, path: &Path, counts: bool) {
        if let Some(level) = self.open.iter_mut().find(|level| level.path == *path) {
            level.counts = Some(counts);
        }
        let parent = path.segments().split_last().map(|(_, parent)| parent);
        let is_beside =
            |level: &Level| level.path.segments().split_last().map(|(_, parent)| parent) == parent;
        if self.open.iter().filter(|level| is_beside(level)).any(|level| level.counts.is_none()) {
            return;
        }
        for level in self.open.extract_if(.., |level| is_beside(level)) {
            let Spent { usage, steps } = level.cx.spent();
            self.spent.usage += usage;
            self.spent.steps = self.spent.steps.saturating_add(steps);
            if level.counts == Some(true) {
                level.cx.merge_context();
            }
        }
    }

    /// What runs that members started consumed.
    pub(super) fn spent(&self) -> Spent {
        let mut spent = self.spent;
        for level in &self.open {
            let Spent { usage, steps } = level.cx.spent();
            spent.usage += usage;
            spent.steps = spent.steps.saturating_add(steps);
        }
        spent
    }
}
