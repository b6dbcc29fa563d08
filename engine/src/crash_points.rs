//! Moments at which a test ends an engine process: after each commit of a run's journal, and before and after whatever a run
//! does to the outside world.
//!
//! All of it is behind the feature `testing`, which only this crate's own tests switch on; otherwise there is nothing to
//! arm, and to pass such a moment is nothing.

use crate::store::queue::Claimed;

/// The moments of the runs of one process or of several. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CrashPoints {
    #[cfg(feature = "testing")]
    watched: armed::Watched,
}

impl CrashPoints {
    /// A run comes by. With the feature, whoever was armed for this moment stays here for good, as a process does that is
    /// killed just now: it holds what it holds, and says nothing more.
    #[cfg_attr(
        not(feature = "testing"),
        allow(clippy::unused_async, clippy::unused_self, reason = "there is nothing to wait for")
    )]
    pub(crate) async fn pass(&self, claimed: &Claimed, moment: impl FnOnce() -> String) {
        #[cfg(feature = "testing")]
        self.watched.pass(claimed, moment()).await;
        #[cfg(not(feature = "testing"))]
        let _ = (claimed, moment);
    }
}

#[cfg(feature = "testing")]
mod armed {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use shared_models::RunId;

    use super::{Claimed, CrashPoints};

    #[derive(Clone, Debug, Default)]
    pub(super) struct Watched(Arc<Mutex<HashMap<RunId, Tree>>>);

    /// What the runs of one tree have come by.
    #[derive(Debug, Default)]
    struct Tree {
        passed: Vec<String>,
        armed: Option<String>,
        stopped: bool,
    }

    impl Watched {
        pub(super) async fn pass(&self, claimed: &Claimed, moment: String) {
            let stops = {
                let mut trees = self.trees();
                let tree = trees.entry(claimed.root).or_default();
                let who = if claimed.run == claimed.root { "run" } else { "child" };
                let moment = format!("{who}: {moment}");
                let before = tree.passed.iter().filter(|passed| {
                    passed.rsplit_once(" #").is_some_and(|(passed, _)| passed == moment)
                });
                let moment = format!("{moment} #{}", before.count() + 1);
                let stops = tree.armed.as_ref() == Some(&moment);
                if stops {
                    (tree.armed, tree.stopped) = (None, true);
                }
                tree.passed.push(moment);
                stops
            };
            if stops {
                std::future::pending::<()>().await;
            }
        }

        fn trees(&self) -> MutexGuard<'_, HashMap<RunId, Tree>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl CrashPoints {
        /// Whoever of this tree comes by this moment stops there, once.
        pub fn arm(&self, root: RunId, moment: &str) {
            self.watched.trees().entry(root).or_default().armed = Some(moment.to_owned());
        }

        /// What the tree has come by, in order: each moment with who it was and the how manyth time.
        pub fn passed(&self, root: RunId) -> Vec<String> {
            self.watched.trees().get(&root).map(|tree| tree.passed.clone()).unwrap_or_default()
        }

        /// Whether the tree has stopped where it was to stop.
        pub fn has_stopped(&self, root: RunId) -> bool {
            self.watched.trees().get(&root).is_some_and(|tree| tree.stopped)
        }
    }
}
