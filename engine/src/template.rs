//! Instructions with `{{ name }}` in them.
//!
//! They are filled in once, when a run is made, and kept with it: what resumes is what started. What is filled in is never
//! looked at again, so nothing that a person or an event says can name a value, and there is no more to it than names: no
//! conditions, no loops, no calls. A ```` ```sim ```` block is a script of the simulated model, which has placeholders of
//! its own: it is left alone.

mod fill;
mod parse;

use std::collections::BTreeMap;

use agentcore::Message;
use chrono::{DateTime, SecondsFormat, Utc};
use servicekit::FieldError;

use self::parse::{Name, Piece, pieces};
use crate::committer::printable;
use crate::create::NewRun;

/// What whoever starts a run says for the instructions, by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// Instructions as a model gets them, at most: they go into the snapshot of every run.
const LONGEST: usize = 1024 * 1024;
const MOST_VARIABLES: usize = 64;
const LONGEST_VARIABLES: usize = 64 * 1024;

/// Why the text is no template, and where.
pub(crate) fn check(text: &str) -> Option<String> {
    pieces(text).err().map(|wrong| wrong.to_string())
}

/// Whether there is nothing to fill in.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.contains("{{") || pieces(text).is_ok_and(|pieces| pieces == [Piece::Text(text)])
}

/// What the caller is asked to give, each once, and whether it may be left out.
pub(crate) fn variables(text: &str) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    for piece in pieces(text).unwrap_or_default() {
        if let Piece::Value { name: Name::Variable(name), otherwise } = piece {
            *found.entry(name.to_owned()).or_insert(true) &= otherwise.is_some();
        }
    }
    found
}

/// Refuses variables that cannot be kept with a run.
pub(crate) fn check_variables(variables: &Variables) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let size: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    if variables.len() > MOST_VARIABLES || size > LONGEST_VARIABLES {
        errors.push(FieldError::new("/variables", "at most 64, of 64 KiB altogether"));
        return errors;
    }
    for (name, value) in variables {
        let pointer = format!("/variables/{}", name.replace('~', "~0").replace('/', "~1"));
        if !parse::is_variable(name) {
            let why = "a name is 1 to 64 letters, digits and `_` of ASCII, no digit first";
            errors.push(FieldError::new(&pointer, why));
        }
        if value.contains('\0') {
            errors.push(FieldError::new(&pointer, "the character U+0000 is not allowed"));
        }
    }
    errors
}

/// The same in words, where nobody reads pointers.
pub(crate) fn sentence(errors: &[FieldError]) -> String {
    let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    messages.join("; ")
}

/// What can be filled in.
struct Values<'a> {
    agent: &'a str,
    input: &'a str,
    new: &'a NewRun,
    now: DateTime<Utc>,
}

impl Values<'_> {
    fn of(&self, name: &Name<'_>) -> Option<String> {
        match name {
            Name::Date => Some(self.now.format("%Y-%m-%d").to_string()),
            Name::Now => Some(self.now.to_rfc3339_opts(SecondsFormat::Secs, true)),
            Name::Agent => Some(self.agent.to_owned()),
            Name::RunId => Some(self.new.run.to_string()),
            Name::Input => Some(printable(self.input)),
            Name::ConversationId => self.new.place.map(|place| place.conversation.to_string()),
            Name::EndUserId => self.new.end_user.clone(),
            Name::Variable(name) => self.new.variables.get(*name).cloned(),
        }
    }

    /// The text with everything filled in, or all that is missing.
    fn fill(&self, text: &str) -> Result<String, Vec<FieldError>> {
        let agent = self.agent;
        let pieces = pieces(text).map_err(|wrong| {
            let why = format!("the instructions of `{agent}` cannot be filled in: {wrong}");
            vec![FieldError::new("/agent", why)]
        })?;
        let (mut filled, mut errors) = (String::new(), BTreeMap::new());
        for piece in &pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Value { name, otherwise } => match self.of(name) {
                    Some(value) => filled.push_str(&value),
                    None => match otherwise {
                        Some(text) => filled.push_str(text),
                        None => drop(errors.insert(name.pointer(), name.to_string())),
                    },
                },
            }
            // Checked as it grows: a long value may be named many times.
            if filled.len() > LONGEST {
                let why = format!("the instructions of `{agent}` are longer than 1 MiB, filled in");
                return Err(vec![FieldError::new("/agent", why)]);
            }
        }
        if errors.is_empty() {
            return Ok(filled);
        }
        let missing = |(pointer, name): (String, String)| {
            FieldError::new(pointer, format!("the instructions of `{agent}` need `{name}`"))
        };
        Err(errors.into_iter().map(missing).collect())
    }
}

fn text_of(input: &Message) -> String {
    match input {
        Message::User { content } => content.text(),
        Message::System { content }
        | Message::Assistant { content, .. }
        | Message::Tool { content, .. } => content.clone(),
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
