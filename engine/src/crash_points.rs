//! Moments at which a test ends an engine process: after each commit of a run's journal, and before and after whatever a run
//! does to the outside world.
//!
//! All of it is behind the feature `testing`, which only this crate's own tests switch on; otherwise there is nothing to
//! arm, and to pass such a moment is nothing.

use crate::committer::Append;
use crate::store::queue::Claimed;

/// The moments of the runs of one process or of several. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CrashPoints {
    #[cfg(feature = "testing")]
    watched: armed::Watched,
}

#[cfg_attr(
    not(feature = "testing"),
    allow(clippy::unused_async, clippy::unused_self, reason = "there is nothing to wait for")
)]
impl CrashPoints {
    /// Whoever works at this path of a run comes by. With the feature, a run that was armed for this moment stops here for
    /// good, with all that belong to it, as happens when their process is killed just now: they hold what they hold, and
    /// say nothing more.
    pub(crate) async fn pass(
        &self,
        claimed: &Claimed,
        path: &str,
        moment: impl FnOnce() -> String,
    ) {
        #[cfg(feature = "testing")]
        self.watched.pass(claimed, vec![(path.to_owned(), moment())]).await;
        #[cfg(not(feature = "testing"))]
        let _ = (claimed, path, moment);
    }

    /// A run is about to write, which it does no more after it has stopped.
    pub(crate) async fn before_commit(&self, claimed: &Claimed) {
        #[cfg(feature = "testing")]
        self.watched.pass(claimed, Vec::new()).await;
        #[cfg(not(feature = "testing"))]
        let _ = claimed;
    }

    /// It has written this: one moment, which goes by the name of everything that was written.
    pub(crate) async fn committed(&self, claimed: &Claimed, append: &Append) {
        #[cfg(feature = "testing")]
        self.watched.pass(claimed, armed::written(append)).await;
        #[cfg(not(feature = "testing"))]
        let _ = (claimed, append);
    }
}

#[cfg(feature = "testing")]
mod armed {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use shared_models::RunId;

    use super::{Append, Claimed, CrashPoints};
    use crate::call_key;

    #[derive(Clone, Debug, Default)]
    pub(super) struct Watched(Arc<Mutex<HashMap<RunId, Tree>>>);

    /// What the runs of one tree have come by.
    #[derive(Debug, Default)]
    struct Tree {
        passed: Vec<Vec<String>>,
        times: HashMap<String, u32>,
        armed: Option<String>,
        stopped: bool,
    }

    /// What an append writes down, and at which path.
    pub(super) fn written(append: &Append) -> Vec<(String, String)> {
        let records = append.records.iter().map(|noted| {
            let kind =
                noted.record.columns().map_or_else(|_| "unreadable".into(), |(kind, _)| kind);
            (noted.path.to_string(), format!("wrote {kind}"))
        });
        let effects = append.effects.iter().map(|effect| {
            let (path, _) = call_key::split(&effect.call_id);
            (path.to_owned(), format!("noted {} {}", effect.tool_name, effect.state.as_str()))
        });
        records.chain(effects).collect()
    }

    impl Tree {
        /// Numbers the names of a moment; says whether it is the armed one, or came earlier.
        fn come_by(&mut self, who: &str, names: Vec<(String, String)>) -> bool {
            if self.stopped || names.is_empty() {
                return self.stopped;
            }
            let mut numbered = Vec::with_capacity(names.len());
            for (path, name) in names {
                let between = if path.is_empty() { "" } else { "/" };
                let name = format!("{who}{between}{path}: {name}");
                let times = self.times.entry(name.clone()).or_default();
                *times += 1;
                numbered.push(format!("{name} #{times}"));
            }
            self.stopped = self.armed.take_if(|armed| numbered.contains(armed)).is_some();
            self.passed.push(numbered);
            self.stopped
        }
    }

    impl Watched {
        pub(super) async fn pass(&self, claimed: &Claimed, names: Vec<(String, String)>) {
            let who = if claimed.run == claimed.root { "run" } else { "child" };
            let stops = self.trees().entry(claimed.root).or_default().come_by(who, names);
            if stops {
                std::future::pending::<()>().await;
            }
        }

        fn trees(&self) -> MutexGuard<'_, HashMap<RunId, Tree>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl CrashPoints {
        /// This tree stops when anybody of it comes by the moment of this name, once.
        pub fn arm(&self, root: RunId, moment: &str) {
            self.watched.trees().entry(root).or_default().armed = Some(moment.to_owned());
        }

        /// The moments the tree has come by, in order, each by all its names: who it was, what it was and the how manyth
        /// time. A commit has a name for each record and each change of the ledger in it.
        pub fn passed(&self, root: RunId) -> Vec<Vec<String>> {
            self.watched.trees().get(&root).map(|tree| tree.passed.clone()).unwrap_or_default()
        }

        /// Whether the tree has stopped where it was to stop.
        pub fn has_stopped(&self, root: RunId) -> bool {
            self.watched.trees().get(&root).is_some_and(|tree| tree.stopped)
        }
    }
}
