//! What a doc comment says to a model.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// A function's doc comment, taken apart.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Docs {
    /// Its first paragraph.
    pub(crate) description: String,
    /// What the list under `# Arguments` or `Args:` says of each argument.
    pub(crate) arguments: Vec<(String, String)>,
}

/// The text of doc attributes, line by line, and the other attributes.
pub(crate) fn take(attributes: Vec<Attribute>) -> (Vec<String>, Vec<Attribute>) {
    let mut lines = Vec::new();
    let mut others = Vec::new();
    for attribute in attributes {
        match text(&attribute) {
            Some(text) => lines.extend(
                text.lines()
                    .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()),
            ),
            None => others.push(attribute),
        }
    }
    (lines, others)
}

fn text(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &meta.value else { return None };
    // An empty line of a comment is an attribute with an empty text, and has no lines of its own.
    let text = text.value();
    meta.path.is_ident("doc").then(|| if text.is_empty() { "\n".into() } else { text })
}

/// The first paragraph as one line.
pub(crate) fn paragraph(lines: &[String]) -> String {
    let lines = lines.iter().map(|line| line.trim()).skip_while(|line| line.is_empty());
    let lines: Vec<&str> =
        lines.take_while(|line| !line.is_empty() && !is_arguments(line)).collect();
    lines.join(" ")
}

pub(crate) fn parse(lines: &[String]) -> Docs {
    let mut docs = Docs { description: paragraph(lines), arguments: Vec::new() };
    let Some(start) = lines.iter().position(|line| is_arguments(line.trim())) else { return docs };
    let heading = lines.get(start).is_some_and(|line| line.trim().starts_with('#'));
    for line in lines.iter().skip(start + 1) {
        let indented = line.starts_with(char::is_whitespace);
        let trimmed = line.trim();
        // The list ends at the next heading, or, without headings, where the text is no longer indented.
        if trimmed.starts_with('#') || (!heading && !trimmed.is_empty() && !indented) {
            break;
        }
        match item(trimmed, heading) {
            Some(item) => docs.arguments.push(item),
            None if trimmed.is_empty() => {}
            None => {
                if let Some((_, text)) = docs.arguments.last_mut() {
                    text.push(' ');
                    text.push_str(trimmed);
                }
            }
        }
    }
    docs
}

fn is_arguments(line: &str) -> bool {
    let heading = line.trim_start_matches('#').trim();
    if line.starts_with('#') {
        ["Arguments", "Args", "Parameters"].contains(&heading)
    } else {
        ["Args:", "Arguments:", "Parameters:"].contains(&line)
    }
}

/// ``* `name` - text`` under a heading, `name: text` or `name (type): text` otherwise; each is read in both places.
fn item(line: &str, bullets: bool) -> Option<(String, String)> {
    let rest = line.strip_prefix("* ").or_else(|| line.strip_prefix("- "));
    let rest = if bullets { rest? } else { rest.unwrap_or(line) };
    let (name, text) = if let Some(quoted) = rest.strip_prefix('`') {
        quoted.split_once('`')?
    } else {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        rest.split_at(end)
    };
    let text = text.trim_start();
    let text = match text.strip_prefix('(') {
        Some(typed) => typed.split_once(')')?.1.trim_start(),
        None => text,
    };
    let text = text
        .strip_prefix(':')
        .or_else(|| text.strip_prefix('-'))
        .or_else(|| text.strip_prefix('–').or_else(|| text.strip_prefix('—')))?;
    Some((name.to_owned(), text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_paragraph_describes_and_the_list_says_what_each_argument_is() {
        for text in [
            "Searches the web.\nAll of it.\n\nMore for people.\n\n# Arguments\n\n* `query` - What to look for,\n  in words.\n* `limit`: How many.\n\n# Panics\n* `never` - no",
            "Searches the web.\nAll of it.\n\nArgs:\n    query: What to look for,\n        in words.\n    limit (int): How many.\n\nReturns:\n    never: no",
            "Searches the web.\nAll of it.\n# Args\n- query - What to look for,\n  in words.\n- `limit` — How many.",
        ] {
            let docs = parse(&lines(text));
            assert_eq!(docs.description, "Searches the web. All of it.");
            let expected = [("query", "What to look for, in words."), ("limit", "How many.")];
            let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
            assert_eq!(docs.arguments, expected, "{text}");
        }
    }

    #[test]
    fn a_comment_without_a_list_describes_only_the_tool() {
        assert_eq!(parse(&lines("\nJust: this.\n")).description, "Just: this.");
        assert_eq!(parse(&lines("Just this.\n\nnot: an argument")).arguments, []);
        assert_eq!(parse(&[]), Docs::default());
    }
}
