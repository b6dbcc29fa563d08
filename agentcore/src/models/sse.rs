//! Server-sent events out of bytes that come in any pieces.
//!
//! Follows "Server-sent events" of the HTML standard, as far as providers use it: `data` and comments; `event`, `id` and
//! `retry` are passed over, because every provider repeats in the data what matters.

use std::ops::Range;

use memchr::memchr2;

use crate::model::{ModelError, ModelErrorKind};

/// Bytes in, the data of events out. An event on one line is handed out where it lies, without a copy.
pub(super) struct Sse {
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// How far the line was looked through in vain.
    searched: usize,
    /// The last line ended with a carriage return: a line feed right after it belongs to it.
    after_return: bool,
    at_first_line: bool,
    /// The data of the event so far.
    data: Data,
    /// The last event that was on several lines, for as long as it is borrowed.
    parked: String,
    longest_line: usize,
}

enum Data {
    None,
    /// On one line of the buffer.
    Here(Range<usize>),
    /// On several lines, or on one that has since left the buffer.
    Apart(String),
}

impl Sse {
    pub(super) fn new(longest_line: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            after_return: false,
            at_first_line: true,
            data: Data::None,
            parked: String::new(),
            longest_line,
        }
    }

    /// Takes in what came. Call [`Sse::next`] until it has no more.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), ModelError> {
        if let Data::Here(range) = &self.data {
            self.data = Data::Apart(text(&self.buffer, range.clone())?.to_owned());
        }
        self.buffer.drain(..self.start);
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The data of the next event that is complete.
    pub(super) fn next(&mut self) -> Result<Option<&str>, ModelError> {
        while let Some(line) = self.next_line()? {
            if !line.is_empty() {
                self.take(line)?;
                continue;
            }
            match std::mem::replace(&mut self.data, Data::None) {
                Data::None => {}
                Data::Here(range) => return text(&self.buffer, range).map(Some),
                Data::Apart(data) => {
                    self.parked = data;
                    return Ok(Some(&self.parked));
                }
            }
        }
        Ok(None)
    }

    /// What is left when the stream is over: the data of an event that was never finished with an empty line.
    pub(super) fn rest(&mut self) -> Result<Option<&str>, ModelError> {
        self.push(b"\n\n")?;
        self.next()
    }

    fn next_line(&mut self) -> Result<Option<Range<usize>>, ModelError> {
        if self.after_return && self.start < self.buffer.len() {
            self.after_return = false;
            if self.buffer.get(self.start) == Some(&b'\n') {
                self.start += 1;
            }
        }
        let from = self.searched.max(self.start);
        let unseen = self.buffer.get(from..).unwrap_or_default();
        let Some(found) = memchr2(b'\n', b'\r', unseen) else {
            self.searched = self.buffer.len();
            return self.check(self.buffer.len() - self.start).map(|()| None);
        };
        let (mut begin, end) = (self.start, from + found);
        self.check(end - begin)?;
        self.after_return = self.buffer.get(end) == Some(&b'\r');
        self.start = end + 1;
        self.searched = self.start;
        // A byte order mark is nothing but decoration.
        if std::mem::take(&mut self.at_first_line)
            && self.buffer.get(begin..end).is_some_and(|line| line.starts_with(b"\xef\xbb\xbf"))
        {
            begin += 3;
        }
        Ok(Some(begin..end))
    }

    fn check(&self, length: usize) -> Result<(), ModelError> {
        if length <= self.longest_line {
            return Ok(());
        }
        let message = format!("a line of more than {} bytes", self.longest_line);
        Err(ModelError::new(ModelErrorKind::Malformed, message))
    }

    fn take(&mut self, line: Range<usize>) -> Result<(), ModelError> {
        let Some(value) = self.buffer.get(line.clone()).and_then(|line| line.strip_prefix(b"data"))
        else {
            return Ok(());
        };
        let value = match value {
            [b':', b' ', value @ ..] | [b':', value @ ..] => value,
            [] => value,
            // A field of another name.
            _ => return Ok(()),
        };
        let range = line.end - value.len()..line.end;
        self.data = match std::mem::replace(&mut self.data, Data::None) {
            Data::None => Data::Here(range),
            Data::Here(first) => {
                let first = text(&self.buffer, first)?.to_owned();
                Data::Apart(first + "\n" + text(&self.buffer, range)?)
            }
            Data::Apart(mut data) => {
                data.push('\n');
                data.push_str(text(&self.buffer, range)?);
                self.check(data.len())?;
                Data::Apart(data)
            }
        };
        Ok(())
    }
}

fn text(buffer: &[u8], range: Range<usize>) -> Result<&str, ModelError> {
    let bytes = buffer.get(range).unwrap_or_default();
    std::str::from_utf8(bytes)
        .map_err(|_| ModelError::new(ModelErrorKind::Malformed, "the answer is not UTF-8"))
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
