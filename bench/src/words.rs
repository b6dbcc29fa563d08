//! Finding the times that the dripping model says, in a stream of server-sent events.

/// The digits of a time in microseconds, from 2001 to 2286.
const DIGITS: usize = 16;

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Words {
    line: Vec<u8>,
    /// Whether the event at hand repeats what was said before.
    repeats: bool,
}

impl Words {
    /// Tells of each time in a piece, in whole lines. Events other than deltas say nothing new.
    pub(crate) fn read(&mut self, piece: &[u8], mut tell: impl FnMut(u64)) {
        for byte in piece {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            if let Some(name) = self.line.strip_prefix(b"event:") {
                self.repeats = name.trim_ascii() != b"delta";
            } else if self.line.is_empty() {
                self.repeats = false;
            } else if self.line.starts_with(b"data:") && !self.repeats {
                times(&self.line, &mut tell);
            }
            self.line.clear();
        }
    }
}

fn times(line: &[u8], tell: &mut impl FnMut(u64)) {
    for run in line.split(|byte| !byte.is_ascii_digit()).filter(|run| run.len() == DIGITS) {
        let digits = run.iter().map(|digit| u64::from(digit - b'0'));
        tell(digits.fold(0, |number, digit| number * 10 + digit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_in_deltas_and_in_nothing_else() {
        let stream = "id: 4\nevent: model_called\ndata: {\"at\":1790000000000001}\n\n\
            event: delta\ndata: {\"text\":\"1790000000000002 1790000000000003 \"}\n\n\
            : keep-alive\n\n\
            data: {\"content\":\"1790000000000004 \"}\n\n\
            event: model_replied\ndata: \"1790000000000002 \"\n\n";
        let mut words = Words::default();
        let mut found = Vec::new();

        for piece in stream.as_bytes().chunks(7) {
            words.read(piece, |time| found.push(time - 1_790_000_000_000_000));
        }

        assert_eq!(found, [2, 3, 4]);
    }
}
