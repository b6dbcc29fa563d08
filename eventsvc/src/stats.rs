//! Counting per trigger in memory, written down once a second: a counter in the row that is being received against
//! would make every delivery wait for the one before. A crash loses at most the last second of counting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use shared_models::{TenantId, TriggerId};

use crate::intake::Status;

/// What was counted for one trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    /// The trigger.
    pub trigger_id: TriggerId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Deliveries that fired it, or will once it is no longer paused.
    pub fired: i64,
    /// Deliveries its filter turned away.
    pub filtered: i64,
    /// Deliveries that came while it was not active.
    pub skipped: i64,
    /// Deliveries that could not fire it.
    pub failed: i64,
    /// What failed after it was counted as fired.
    pub failed_later: i64,
    /// Repetitions.
    pub duplicate: i64,
    /// Deliveries that could not prove where they come from.
    pub refused: i64,
    /// The last delivery that was stored.
    pub last_delivery_at: Option<DateTime<Utc>>,
    /// The last that was refused.
    pub last_refused_at: Option<DateTime<Utc>>,
}

/// One thing to count.
#[derive(Clone, Copy, Debug)]
pub enum Counted {
    /// A delivery was stored, with this answer of the trigger.
    Stored(Status),
    /// A repetition came.
    Duplicate,
    /// A delivery was refused.
    Refused,
}

/// The counters not yet written down. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    counts: Arc<Mutex<HashMap<TriggerId, Counts>>>,
}

impl Stats {
    /// Counts one thing for one trigger.
    pub fn count(&self, tenant: TenantId, trigger: TriggerId, what: Counted, at: DateTime<Utc>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.entry(trigger).or_insert_with(|| Counts::none(tenant, trigger));
        match what {
            Counted::Stored(status) => {
                *match status {
                    Status::Fired | Status::Queued | Status::Held | Status::Merged => {
                        &mut counts.fired
                    }
                    Status::Filtered => &mut counts.filtered,
                    Status::Skipped => &mut counts.skipped,
                    Status::Failed | Status::Parked => &mut counts.failed,
                } += 1;
                counts.last_delivery_at = Some(at);
            }
            Counted::Duplicate => counts.duplicate += 1,
            Counted::Refused => {
                counts.refused += 1;
                counts.last_refused_at = Some(at);
            }
        }
    }

    /// Counts a firing of a trigger that failed after it was counted as fired.
    pub fn count_failure(&self, tenant: TenantId, trigger: TriggerId) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.entry(trigger).or_insert_with(|| Counts::none(tenant, trigger)).failed_later += 1;
    }

    /// Takes everything counted so far.
    pub fn take(&self) -> Vec<Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *counts).into_values().collect()
    }

    /// Gives back what could not be written.
    pub fn put_back(&self, unwritten: Vec<Counts>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for old in unwritten {
            let kept = counts
                .entry(old.trigger_id)
                .or_insert_with(|| Counts::none(old.tenant_id, old.trigger_id));
            kept.fired += old.fired;
            kept.filtered += old.filtered;
            kept.skipped += old.skipped;
            kept.failed += old.failed;
            kept.failed_later += old.failed_later;
            kept.duplicate += old.duplicate;
            kept.refused += old.refused;
            kept.last_delivery_at = kept.last_delivery_at.max(old.last_delivery_at);
            kept.last_refused_at = kept.last_refused_at.max(old.last_refused_at);
        }
    }
}

impl Counts {
    fn none(tenant_id: TenantId, trigger_id: TriggerId) -> Self {
        Self {
            trigger_id,
            tenant_id,
            fired: 0,
            filtered: 0,
            skipped: 0,
            failed: 0,
            failed_later: 0,
            duplicate: 0,
            refused: 0,
            last_delivery_at: None,
            last_refused_at: None,
        }
    }
}
