//! The words of one model call so far, and what a viewer has seen of them.

use std::collections::HashMap;

use super::{Delta, Part};
use crate::call_key::names;

/// More in one message might be more than the bus takes, once it is written as JSON.
const PIECE: usize = 128 * 1024;

/// The block a run's owner holds for those who join late.
#[derive(Debug)]
pub(crate) struct Block {
    path: String,
    number: i64,
    text: String,
    reasoning: String,
}

impl Block {
    pub(super) fn new(path: &str, number: i64) -> Self {
        Self { path: path.to_owned(), number, text: String::new(), reasoning: String::new() }
    }

    /// Whether it is of the conversation at this path.
    pub(super) fn is_of(&self, path: &str) -> bool {
        self.path == path
    }

    pub(super) fn push(&mut self, part: Part, text: &str) -> Delta {
        let whole = self.part(part);
        let offset = whole.len();
        whole.push_str(text);
        self.delta(part, offset, text)
    }

    fn delta(&self, part: Part, offset: usize, text: &str) -> Delta {
        let path = names(&self.path);
        Delta { path, block: self.number, part, offset, text: text.to_owned() }
    }

    pub(super) fn so_far(&self) -> Vec<Delta> {
        [(Part::Reasoning, &self.reasoning), (Part::Text, &self.text)]
            .into_iter()
            .flat_map(|(part, text)| self.pieces(part, text))
            .collect()
    }

    fn pieces(&self, part: Part, text: &str) -> Vec<Delta> {
        let (mut pieces, mut offset) = (Vec::new(), 0);
        while let Some(rest) = text.get(offset..).filter(|rest| !rest.is_empty()) {
            let piece = &rest[..rest.floor_char_boundary(PIECE)];
            pieces.push(self.delta(part, offset, piece));
            offset += piece.len();
        }
        pieces
    }

    fn part(&mut self, part: Part) -> &mut String {
        match part {
            Part::Text => &mut self.text,
            Part::Reasoning => &mut self.reasoning,
        }
    }
}

/// What one viewer has seen of the newest block of each conversation.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<Vec<String>, SeenOf>);

/// What it has seen of one.
#[derive(Debug, Default)]
struct SeenOf {
    block: i64,
    text: usize,
    reasoning: usize,
}

/// What a viewer should do with a delta.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Show(Delta),
    /// It has been seen.
    Skip,
    /// Something before it is missing: ask for the block so far.
    Gap,
}

impl Seen {
    /// Blocks at this path up to this one have been replaced by what came of them.
    pub(crate) fn replaced(&mut self, path: &[String], block: i64) {
        match self.0.get_mut(path) {
            Some(seen) => seen.replaced(block),
            None => {
                self.0.insert(path.to_vec(), SeenOf { block: block + 1, ..SeenOf::default() });
            }
        }
    }

    pub(crate) fn take(&mut self, delta: Delta) -> Next {
        match self.0.get_mut(&delta.path) {
            Some(seen) => seen.take(delta),
            None => self.0.entry(delta.path.clone()).or_default().take(delta),
        }
    }
}

impl SeenOf {
    fn replaced(&mut self, block: i64) {
        if block >= self.block {
            *self = Self { block: block + 1, ..Self::default() };
        }
    }

    fn take(&mut self, mut delta: Delta) -> Next {
        if delta.block < self.block {
            return Next::Skip;
        }
        if delta.block > self.block {
            *self = Self { block: delta.block, ..Self::default() };
        }
        let seen = match delta.part {
            Part::Text => &mut self.text,
            Part::Reasoning => &mut self.reasoning,
        };
        if delta.offset > *seen {
            return Next::Gap;
        }
        let end = delta.offset + delta.text.len();
        let Some(fresh) = delta.text.get(*seen - delta.offset..).filter(|fresh| !fresh.is_empty())
        else {
            return Next::Skip;
        };
        delta = Delta { offset: *seen, text: fresh.to_owned(), ..delta };
        *seen = end;
        Next::Show(delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(block: i64, offset: usize, text: &str) -> Delta {
        Delta { path: Vec::new(), block, part: Part::Text, offset, text: text.into() }
    }

    #[test]
    fn a_late_viewer_gets_the_block_so_far_and_nothing_twice() {
        let (mut block, mut seen) = (Block::new("", 4), Seen::default());
        block.push(Part::Text, "Hel");
        let missed = block.push(Part::Text, "lo ");
        let last = block.push(Part::Text, "world");

        assert_eq!(seen.take(missed.clone()), Next::Gap);
        let so_far = block.so_far().remove(0);
        assert_eq!(seen.take(so_far), Next::Show(delta(4, 0, "Hello world")));
        assert_eq!((seen.take(missed), seen.take(last)), (Next::Skip, Next::Skip));
    }

    #[test]
    fn a_long_block_is_shown_in_pieces() {
        let (mut block, mut seen) = (Block::new("", 4), Seen::default());
        let long = "é".repeat(PIECE);
        block.push(Part::Text, &format!("a{long}"));

        let mut shown = String::new();
        for piece in block.so_far() {
            assert!(piece.text.len() <= PIECE);
            let Next::Show(piece) = seen.take(piece) else { panic!("a gap") };
            shown.push_str(&piece.text);
        }

        assert_eq!(shown, format!("a{long}"));
    }

    #[test]
    fn those_who_speak_at_the_same_time_are_heard_apart() {
        let (mut one, mut other) = (Block::new("lead/a", 4), Block::new("lead/b", 5));
        let mut seen = Seen::default();
        let (first, second) = (one.push(Part::Text, "Hel"), one.push(Part::Text, "lo"));
        let across = other.push(Part::Text, "Bye");

        assert_eq!(seen.take(first.clone()), Next::Show(first));
        assert_eq!(seen.take(across.clone()), Next::Show(across));
        seen.replaced(&["lead".into(), "b".into()], 9);
        assert_eq!(seen.take(second.clone()), Next::Show(second));
        assert_eq!(seen.take(other.push(Part::Text, "!")), Next::Skip);
    }

    #[test]
    fn an_overlapping_delta_is_clipped() {
        let mut seen = Seen::default();
        assert_eq!(seen.take(delta(1, 0, "ab")), Next::Show(delta(1, 0, "ab")));
        assert_eq!(seen.take(delta(1, 1, "bcd")), Next::Show(delta(1, 2, "cd")));
    }

    #[test]
    fn a_block_ends_with_what_came_of_it() {
        let mut seen = Seen::default();
        seen.replaced(&[], 7);
        assert_eq!(seen.take(delta(6, 0, "late")), Next::Skip);
        assert_eq!(seen.take(delta(9, 0, "new")), Next::Show(delta(9, 0, "new")));
    }
}
