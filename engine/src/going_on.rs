//! Telling the other services that a run goes on which has waited.
//!
//! Whoever takes such a run up may find what it waited for as it was: then it waits again, and there is nothing to tell. So
//! the word is kept back until a record shows that the run goes on, or a model is asked or a call leaves, and is committed
//! with that. After a crash in between it is told again under the same id, and heard once.

use shared_models::WaitReason;
use shared_models::events::run::RunResumed;
use sqlx::types::Uuid;

use crate::committer::Append;
use crate::journal::Journal;
use crate::record::Record;
use crate::store::queue::Claimed;

/// A rest whose end nobody was told of yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rested {
    /// Which of the run's records began it.
    nth: usize,
    reason: WaitReason,
}

/// The rest that the records end in, if they do.
pub(crate) fn rested<P>(records: &[(P, Record)]) -> Option<Rested> {
    for (nth, (_, record)) in records.iter().enumerate().rev() {
        match record {
            Record::Waiting { reason, .. } => return Some(Rested { nth, reason: *reason }),
            // Behind a pause its end is told, and a run that has just begun has not waited.
            Record::Paused { .. } | Record::Started { .. } => return None,
            record if is_shown_by(record) => return None,
            _ => {}
        }
    }
    None
}

/// Has it told that the run goes on, as soon as it does.
pub(crate) fn announce(
    journal: &Journal,
    claimed: &Claimed,
    Rested { nth, reason }: Rested,
) -> Result<(), serde_json::Error> {
    let event = RunResumed { run: claimed.reference(), by: None, after: Some(reason) };
    let id = Uuid::new_v5(&claimed.run.uuid(), format!("goes on after record {nth}").as_bytes());
    journal.keep_back(id, &event)
}

/// Whether what is about to be committed shows that the run goes on, and not just up to where it waits again, is paused or
/// ends, which is told instead.
pub(crate) fn is_shown_in(append: &Append) -> bool {
    append.change.status.is_none() && append.records.iter().any(|noted| is_shown_by(&noted.record))
}

/// Whether a record is about what only a run writes down that goes on. That something is about to be tried is not enough:
/// there may be no room for it, or no credential.
fn is_shown_by(record: &Record) -> bool {
    matches!(
        record,
        Record::ModelReplied { .. }
            | Record::ModelFailed { .. }
            | Record::Summarised { .. }
            | Record::HandedOver { .. }
            | Record::ToolWaiting { .. }
            | Record::ToolInDoubt { .. }
            | Record::ToolAnswered { .. }
            | Record::DoubtAnswered { .. }
            | Record::UnmatchedDecided { .. }
            | Record::ApprovalRequested { .. }
            | Record::ApprovalDecided { .. }
    )
}

#[cfg(test)]
mod tests {
    use shared_models::{RunId, RunStatus, TenantId, WorkerId};

    use super::*;

    fn waits(reason: WaitReason) -> ((), Record) {
        ((), Record::Waiting { reason, needs: Vec::new() })
    }

    fn taken() -> ((), Record) {
        ((), Record::Resumed { worker: WorkerId::mint(), epoch: 2 })
    }

    fn asked() -> ((), Record) {
        ((), Record::ModelCalled { step: 1, model: "m".into(), attempt: 0, read: 1 })
    }

    fn answered() -> ((), Record) {
        ((), Record::DoubtAnswered { call_id: "c".into(), happened: true, by: None })
    }

    #[test]
    fn a_rest_lasts_until_something_shows_that_the_run_goes_on() {
        let started = || ((), Record::Started { worker: WorkerId::mint(), epoch: 1 });
        let budget = Some(Rested { nth: 1, reason: WaitReason::Budget });
        let rests = waits(WaitReason::Budget);

        assert_eq!(rested(&[started(), taken()]), None);
        assert_eq!(rested(&[started(), rests.clone(), taken(), asked()]), budget);
        assert_eq!(rested(&[started(), rests.clone(), taken(), answered(), asked()]), None);
        assert_eq!(rested(&[rests.clone(), ((), Record::Paused { by: None }), taken()]), None);
        // What a fork has of the other run is before its own beginning.
        assert_eq!(rested(&[rests.clone(), started(), taken()]), None);
        // One of two doubts was answered: that is the next rest.
        let doubt = Some(Rested { nth: 3, reason: WaitReason::Doubt });
        assert_eq!(rested(&[rests, taken(), answered(), waits(WaitReason::Doubt)]), doubt);
    }

    #[test]
    fn what_leads_to_the_next_rest_or_to_the_end_shows_nothing() {
        let append = |records: &[((), Record)], status| {
            let mut append = Append::new(TenantId::mint(), RunId::mint(), 1, 7);
            append.records = records.iter().map(|((), record)| record.clone().into()).collect();
            append.change.status = status;
            append
        };

        assert!(is_shown_in(&append(&[taken(), answered()], None)));
        assert!(!is_shown_in(&append(&[taken(), asked()], None)));
        for status in [RunStatus::Waiting, RunStatus::Paused, RunStatus::Cancelled] {
            assert!(!is_shown_in(&append(&[taken(), answered()], Some(status))));
        }
    }
}
