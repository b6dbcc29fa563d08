//! From text to stages.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

use super::{FlowError, FlowErrorKind};

/// A name, and the column it begins at.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) column: usize,
}

/// Characters no name has: those of the grammar, and those that part a path of names.
pub(super) fn is_reserved(c: char) -> bool {
    matches!(c, '>' | '|' | '(' | ')' | '/' | '#') || c.is_control()
}

pub(super) fn stages(text: &str) -> Result<Vec<Vec<Named>>, FlowError> {
    let mut tokens = Tokens { chars: text.chars().peekable(), column: 1 };
    let mut stages = Vec::new();
    loop {
        stages.push(stage(&mut tokens)?);
        let (token, column) = tokens.next()?;
        match token {
            Token::End => break,
            Token::Then => {}
            Token::Bar => return Err(syntax(column, PARENTHESES)),
            Token::Close => return Err(syntax(column, "there is no `(` for this `)`")),
            Token::Open | Token::Name(_) => return Err(syntax(column, "`>>` is missing")),
        }
    }
    check_names(&stages)?;
    Ok(stages)
}

const PARENTHESES: &str = "members that work at the same time are put in parentheses: `(a | b)`";

fn stage(tokens: &mut Tokens<'_>) -> Result<Vec<Named>, FlowError> {
    let (token, column) = tokens.next()?;
    match token {
        Token::Name(name) => Ok(vec![Named { name, column }]),
        Token::Open => group(tokens, column),
        Token::Then | Token::End => Err(FlowError { column, kind: FlowErrorKind::EmptyStage }),
        Token::Bar => Err(syntax(column, PARENTHESES)),
        Token::Close => Err(syntax(column, "there is no `(` for this `)`")),
    }
}

/// What follows a `(`, up to its `)`.
fn group(tokens: &mut Tokens<'_>, opened: usize) -> Result<Vec<Named>, FlowError> {
    let mut names = Vec::new();
    loop {
        let (token, column) = tokens.next()?;
        match token {
            Token::Name(name) => names.push(Named { name, column }),
            Token::Close if names.is_empty() => {
                return Err(FlowError { column: opened, kind: FlowErrorKind::EmptyStage });
            }
            Token::Open => return Err(syntax(column, "parentheses do not nest")),
            Token::End => return Err(syntax(opened, "this `(` is not closed")),
            Token::Then | Token::Bar | Token::Close => {
                return Err(syntax(column, "a name is missing"));
            }
        }
        let (token, column) = tokens.next()?;
        match token {
            Token::Bar => {}
            Token::Close => return Ok(names),
            Token::Open => return Err(syntax(column, "parentheses do not nest")),
            Token::Then => return Err(syntax(column, "`>>` has no place in parentheses")),
            Token::End => return Err(syntax(opened, "this `(` is not closed")),
            Token::Name(_) => return Err(syntax(column, "`|` is missing")),
        }
    }
}

fn check_names(stages: &[Vec<Named>]) -> Result<(), FlowError> {
    let mut seen = HashMap::new();
    for (stage, names) in stages.iter().enumerate() {
        for Named { name, column } in names {
            let kind = match seen.insert(name, stage) {
                None => continue,
                Some(before) if before == stage => FlowErrorKind::Duplicate(name.clone()),
                Some(_) => FlowErrorKind::Cycle(name.clone()),
            };
            return Err(FlowError { column: *column, kind });
        }
    }
    Ok(())
}

fn syntax(column: usize, what: impl Into<String>) -> FlowError {
    FlowError { column, kind: FlowErrorKind::Syntax(what.into()) }
}

enum Token {
    Name(String),
    Then,
    Open,
    Bar,
    Close,
    End,
}

struct Tokens<'a> {
    chars: Peekable<Chars<'a>>,
    column: usize,
}

impl Tokens<'_> {
    /// The next token, and the column it begins at.
    fn next(&mut self) -> Result<(Token, usize), FlowError> {
        while self.chars.peek().is_some_and(|c| c.is_whitespace()) {
            self.advance();
        }
        let column = self.column;
        let Some(first) = self.chars.peek().copied() else { return Ok((Token::End, column)) };
        let token = match first {
            '(' => Token::Open,
            ')' => Token::Close,
            '|' => Token::Bar,
            '>' => return self.arrow(column),
            _ => return self.name(column),
        };
        self.advance();
        Ok((token, column))
    }

    fn arrow(&mut self, column: usize) -> Result<(Token, usize), FlowError> {
        self.advance();
        if self.chars.peek() != Some(&'>') {
            return Err(syntax(column, "`>` alone means nothing: write `>>`"));
        }
        self.advance();
        Ok((Token::Then, column))
    }

    fn name(&mut self, column: usize) -> Result<(Token, usize), FlowError> {
        let mut name = String::new();
        while let Some(c) = self.chars.peek().copied() {
            if matches!(c, '>' | '|' | '(' | ')') {
                break;
            }
            if is_reserved(c) && !self.only_space_is_left() {
                let what = format!("{c:?} cannot be part of a name");
                return Err(syntax(self.column, what));
            }
            name.push(c);
            self.advance();
        }
        name.truncate(name.trim_end().len());
        Ok((Token::Name(name), column))
    }

    /// Whether the name has ended, so that what is here (a line break, say) only parts it from the next token.
    fn only_space_is_left(&self) -> bool {
        let mut rest = self.chars.clone().skip_while(|c| c.is_whitespace());
        let is_space = self.chars.clone().next().is_some_and(char::is_whitespace);
        is_space && rest.next().is_none_or(|c| matches!(c, '>' | '|' | '(' | ')'))
    }

    fn advance(&mut self) {
        if self.chars.next().is_some() {
            self.column += 1;
        }
    }
}
