//! Takes a template apart.

use std::fmt;

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Value {
        name: Name<'a>,
        /// What stands there when nobody has said anything.
        otherwise: Option<&'a str>,
    },
}

/// What can stand in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    Date,
    Now,
    Agent,
    RunId,
    Input,
    ConversationId,
    EndUserId,
    /// Given with the run.
    Variable(&'a str),
}

/// Something that is no template, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    line: usize,
    column: usize,
    why: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, why } = self;
        write!(f, "line {line}, column {column}: {why}")
    }
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const SCRIPT: &str = "```sim";
const FENCE: &str = "```";

/// The pieces in their order. Text is left as it stands, but for `\{{`, which is `{{`.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Wrong> {
    let (mut pieces, mut plain, mut from) = (Vec::new(), 0, 0);
    while let Some(open) = find(text, from, OPEN) {
        if let Some(script) = find(text, from, SCRIPT).filter(|script| *script < open) {
            from = end_of_script(text, script);
            continue;
        }
        from = open + OPEN.len();
        if text.get(..open).is_some_and(|before| before.ends_with('\\')) {
            pieces.extend(kept(text, plain, open - 1));
            plain = open;
            continue;
        }
        let rest = text.get(from..).unwrap_or_default();
        let (piece, length) = value(rest).map_err(|why| Wrong::at(text, open, why))?;
        pieces.extend(kept(text, plain, open));
        pieces.push(piece);
        from += length;
        plain = from;
    }
    pieces.extend(kept(text, plain, text.len()));
    Ok(pieces)
}

fn kept(text: &str, from: usize, to: usize) -> Option<Piece<'_>> {
    text.get(from..to).filter(|kept| !kept.is_empty()).map(Piece::Text)
}

fn find(text: &str, from: usize, what: &str) -> Option<usize> {
    Some(from + text.get(from..)?.find(what)?)
}

fn end_of_script(text: &str, start: usize) -> usize {
    let inside = start + SCRIPT.len();
    // A longer word names another language.
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if text.get(inside..).is_some_and(|rest| rest.starts_with(is_word)) {
        return inside;
    }
    find(text, inside, FENCE).map_or(text.len(), |end| end + FENCE.len())
}

/// What stands after `{{`, and how long it is with its `}}`.
fn value(rest: &str) -> Result<(Piece<'_>, usize), String> {
    let begun = rest.trim_start();
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let length = begun.find(|c: char| !is_of_name(c)).unwrap_or(begun.len());
    let (name, tail) = begun.split_at_checked(length).unwrap_or((begun, ""));
    let name = Name::parse(name)?;
    let mut tail = tail.trim_start();
    let mut otherwise = None;
    if let Some(after) = tail.strip_prefix('|') {
        let why = "after `|` comes `default(\"…\")`";
        let text = after.trim_start().strip_prefix("default(\"").ok_or(why)?;
        let (text, after) = text.split_once('"').ok_or(why)?;
        tail = after.trim_start().strip_prefix(')').ok_or(why)?.trim_start();
        otherwise = Some(text);
    }
    let why = || format!("`{name}` is followed by neither `}}}}` nor `| default(\"…\")`");
    let tail = tail.strip_prefix(CLOSE).ok_or_else(why)?;
    Ok((Piece::Value { name, otherwise }, rest.len() - tail.len()))
}

/// Whether a variable may be called that.
pub(super) fn is_variable(name: &str) -> bool {
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    fits && (1..=64).contains(&name.len()) && !name.starts_with(|c: char| c.is_ascii_digit())
}

impl<'a> Name<'a> {
    const FIXED: [Name<'static>; 7] = [
        Name::Date,
        Name::Now,
        Name::Agent,
        Name::RunId,
        Name::Input,
        Name::ConversationId,
        Name::EndUserId,
    ];

    fn parse(text: &'a str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "a name comes after `{{`; for the characters themselves write `\\{{`".into()
            );
        }
        if let Some(name) = text.strip_prefix("variables.").filter(|name| is_variable(name)) {
            return Ok(Name::Variable(name));
        }
        let named = Self::FIXED.into_iter().find(|name| name.word() == Some(text));
        named.ok_or_else(|| {
            let words: Vec<&str> = Self::FIXED.iter().filter_map(Name::word).collect();
            let words = words.join(", ");
            format!("there is no `{text}`: there are {words}, and `variables.<name>`")
        })
    }

    fn word(&self) -> Option<&'static str> {
        match self {
            Self::Date => Some("date"),
            Self::Now => Some("now"),
            Self::Agent => Some("agent.name"),
            Self::RunId => Some("run_id"),
            Self::Input => Some("input"),
            Self::ConversationId => Some("conversation_id"),
            Self::EndUserId => Some("end_user_id"),
            Self::Variable(_) => None,
        }
    }

    /// Where whoever starts a run says it.
    pub(super) fn pointer(&self) -> String {
        format!("/{}", self.to_string().replace('.', "/"))
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "variables.{name}"),
            fixed => f.write_str(fixed.word().unwrap_or_default()),
        }
    }
}

impl Wrong {
    fn at(text: &str, at: usize, why: String) -> Self {
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, why }
    }
}
