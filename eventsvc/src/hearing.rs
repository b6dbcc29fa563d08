//! Which firings should have been heard of by now.
//!
//! A firing waits in the stream, then with the engine, and the word of its run waits in another stream for us: an hour's
//! backlog of any of them is no loss. Only counting tells them apart. Once a minute it is noted how far the engine's
//! consumer has acknowledged and how far the stream of runs has come. What the engine had acknowledged at one note, and
//! is still unheard of when we have heard everything that was told until another note `wait` later, is lost.
//!
//! The notes are this process's own and begin with it, so after a start nothing is lost for the length of the wait.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The notes span many waits; a longer backlog of our own only delays what is found.
const MOST: usize = 1_440;
/// So many notes are taken during a wait, however often somebody looks.
const PER_WAIT: u32 = 64;

/// What was so at one moment.
#[derive(Clone, Copy, Debug)]
struct Note {
    at: Instant,
    /// Firings up to this sequence were acknowledged.
    floor: u64,
    /// Nothing about a run had a higher sequence yet.
    told: u64,
}

/// The latest notes.
#[derive(Debug, Default)]
pub(crate) struct Hearing(Mutex<VecDeque<Note>>);

impl Hearing {
    /// Notes that `floor` was acknowledged at `at`, and that all that was told until then is at or below `told`; not,
    /// when the last note is still young beside the wait.
    pub(crate) fn note(&self, at: Instant, (floor, told): (u64, u64), wait: Duration) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.back().is_some_and(|last| last.floor > floor || last.told > told) {
            // A store was rolled back: what was noted of it means nothing any more.
            notes.clear();
        }
        if notes.back().is_some_and(|last| at < last.at + wait / PER_WAIT) {
            return;
        }
        if notes.len() == MOST {
            notes.pop_front();
        }
        notes.push_back(Note { at, floor, told });
    }

    /// Firings up to this sequence should have been heard of, if we have heard everything up to `heard`; none, when that
    /// cannot be said of any.
    pub(crate) fn due(&self, heard: u64, wait: Duration) -> Option<u64> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let caught_up = notes.iter().rev().find(|note| note.told <= heard)?;
        let due = notes.iter().rev().find(|note| note.at + wait <= caught_up.at)?;
        Some(due.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A note a minute, as `(floor, told)`.
    fn noted(notes: &[(u64, u64)]) -> Hearing {
        let (hearing, mut at) = (Hearing::default(), Instant::now());
        for (floor, told) in notes {
            hearing.note(at, (*floor, *told), MINUTE);
            at += MINUTE;
        }
        hearing
    }

    #[test]
    fn what_was_acknowledged_a_moment_ago_is_not_due_however_long_it_had_waited() {
        let hearing = noted(&[(0, 0), (0, 0), (0, 0), (900, 900)]);

        assert_eq!(hearing.due(900, 2 * MINUTE), Some(0));
    }

    #[test]
    fn what_was_acknowledged_a_wait_ago_is_due_when_everything_told_since_was_heard() {
        let hearing = noted(&[(500, 400), (700, 600), (900, 900)]);

        assert_eq!(hearing.due(900, 2 * MINUTE), Some(500));
        assert_eq!(hearing.due(900, MINUTE), Some(700));
        assert_eq!(hearing.due(900, 3 * MINUTE), None);
    }

    #[test]
    fn while_we_are_behind_ourselves_nothing_new_is_due() {
        let hearing = noted(&[(500, 400), (700, 600), (900, 900)]);

        assert_eq!(hearing.due(899, MINUTE), Some(500));
        assert_eq!(hearing.due(599, MINUTE), None);
        assert_eq!(hearing.due(0, Duration::ZERO), None);
    }

    #[test]
    fn looking_often_does_not_shorten_what_is_remembered() {
        let (hearing, begin, wait) = (Hearing::default(), Instant::now(), 60 * MINUTE);
        for second in 0..2 * 3_600 {
            hearing.note(begin + Duration::from_secs(second), (second, second), wait);
        }

        let due = hearing.due(7_200, wait).unwrap();
        assert!((3_400..=3_600).contains(&due), "{due}");
    }

    #[test]
    fn a_store_that_goes_back_begins_anew() {
        let hearing = noted(&[(500, 400), (700, 600), (100, 600)]);

        assert_eq!(hearing.due(600, MINUTE), None);
        assert_eq!(hearing.due(600, Duration::ZERO), Some(100));
    }
}
