//! Flow control: firings of a trigger that may not all fire at once wait as `queued`, and fire when their turn comes.
//!
//! Deliveries of other triggers never come past here. What fires is decided by [`plan`], a pure function, for one trigger
//! at a time, under a lock of that trigger's row, so any number of replicas may try.

mod gather;
mod options;
mod plan;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

pub(crate) use options::Flow;
pub(crate) use worker::run;

/// Wakes the worker, and knows whether the end of a run may make room for anything.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    ring: Notify,
    waiting: AtomicBool,
}

impl Bell {
    /// Something was queued.
    pub(crate) fn queued(&self) {
        self.ring.notify_one();
    }

    /// Something was heard of runs.
    pub(crate) fn heard(&self) {
        if self.waiting.load(Ordering::Relaxed) {
            self.ring.notify_one();
        }
    }
}
