//! Input templates: what an agent is given in place of what was received. Any JSON, in whose texts CEL expressions in
//! double braces are replaced by what they give.

use std::collections::BTreeMap;

use serde_json::Value;
use servicekit::FieldError;

use crate::filter::{Filter, Seen};

/// The largest template, as JSON.
const LARGEST: usize = 64 * 1024;
/// What a template may make of a delivery: it travels with its event.
pub(crate) const LARGEST_INPUT: usize = 256 * 1024;
const DEEPEST: usize = 16;
const MOST_EXPRESSIONS: usize = 100;

/// A template ready to be filled.
#[derive(Clone, Debug)]
pub(crate) struct Template(Node);

#[derive(Clone, Debug)]
enum Node {
    Plain(Value),
    /// A text that is one expression: what it gives, of whatever kind.
    Whole(Filter),
    Text(Vec<Piece>),
    List(Vec<Node>),
    Fields(BTreeMap<String, Node>),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Expression(Filter),
}

impl Template {
    /// Reads a template; the error is fit for the person who wrote it.
    pub(crate) fn compile(value: &Value) -> Result<Self, String> {
        if value.to_string().len() > LARGEST {
            return Err("larger than 64 KiB".into());
        }
        let mut expressions = 0;
        let node = node(value, DEEPEST, &mut expressions)?;
        Ok(Self(node))
    }

    /// Refuses what cannot be read, by name.
    pub(crate) fn check(value: &Value) -> Result<(), FieldError> {
        Self::compile(value).map(drop).map_err(|why| FieldError::new("/input", why))
    }

    /// What the agent is given.
    pub(crate) async fn fill(&self, seen: &Seen) -> Result<Value, String> {
        let filled = Box::pin(fill(&self.0, seen)).await?;
        if filled.to_string().len() > LARGEST_INPUT {
            return Err("the input is larger than 256 KiB".into());
        }
        Ok(filled)
    }
}

fn node(value: &Value, depth: usize, expressions: &mut usize) -> Result<Node, String> {
    let below = depth.checked_sub(1).ok_or("nested too deeply")?;
    Ok(match value {
        Value::String(text) => of_text(text, expressions)?,
        Value::Array(items) => {
            let nodes = items.iter().map(|item| node(item, below, expressions));
            Node::List(nodes.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let nodes = fields.iter().map(|(name, value)| {
                if name.contains('\0') {
                    return Err("the character NUL (U+0000) cannot be stored".to_owned());
                }
                Ok((name.clone(), node(value, below, expressions)?))
            });
            Node::Fields(nodes.collect::<Result<_, String>>()?)
        }
        other => Node::Plain(other.clone()),
    })
}

fn of_text(text: &str, expressions: &mut usize) -> Result<Node, String> {
    if text.contains('\0') {
        return Err("the character NUL (U+0000) cannot be stored".into());
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (source, later) = after.split_once("}}").ok_or("`{{` without `}}`")?;
        *expressions += 1;
        if *expressions > MOST_EXPRESSIONS {
            return Err(format!("more than {MOST_EXPRESSIONS} expressions"));
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let source = source.trim();
        let compiled =
            Filter::compile(source).map_err(|why| format!("`{{{{{source}}}}}`: {why}"))?;
        pieces.push(Piece::Expression(compiled));
        rest = later;
    }
    if pieces.is_empty() {
        return Ok(Node::Plain(text.into()));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(match pieces.as_slice() {
        [Piece::Expression(only)] => Node::Whole(only.clone()),
        _ => Node::Text(pieces),
    })
}

async fn fill(node: &Node, seen: &Seen) -> Result<Value, String> {
    Ok(match node {
        Node::Plain(value) => value.clone(),
        Node::Whole(expression) => expression.gives(seen).await?,
        Node::Text(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(plain) => text.push_str(plain),
                    Piece::Expression(expression) => match expression.gives(seen).await? {
                        Value::String(found) => text.push_str(&found),
                        Value::Null => {}
                        other => text.push_str(&other.to_string()),
                    },
                }
                if text.len() > LARGEST_INPUT {
                    return Err("the input is larger than 256 KiB".into());
                }
            }
            text.into()
        }
        Node::List(items) => {
            let mut filled = Vec::with_capacity(items.len());
            for item in items {
                filled.push(Box::pin(fill(item, seen)).await?);
            }
            filled.into()
        }
        Node::Fields(fields) => {
            let mut filled = serde_json::Map::new();
            for (name, node) in fields {
                filled.insert(name.clone(), Box::pin(fill(node, seen)).await?);
            }
            filled.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    async fn filled(template: Value) -> Result<Value, String> {
        let payload = json!({ "who": "Ann", "n": 3, "tags": ["a", "b"], "none": null });
        let headers = json!({ "x-github-event": "push" });
        let seen = Seen {
            tenant: shared_models::TenantId::mint(),
            payload: Arc::new(payload),
            size: 60,
            headers: Arc::new(headers.as_object().unwrap().clone()),
            system: "webhook",
        };
        Template::compile(&template)?.fill(&seen).await
    }

    #[tokio::test]
    async fn texts_are_filled_and_a_lone_expression_keeps_its_kind() {
        for (template, expected) in [
            (json!("hello"), json!("hello")),
            (json!("Dear {{payload.who}}, {{ payload.n }}!"), json!("Dear Ann, 3!")),
            (json!("{{payload.tags}}"), json!(["a", "b"])),
            (json!("tags: {{payload.tags}}{{payload.none}}"), json!(r#"tags: ["a","b"]"#)),
            (
                json!({ "n": "{{payload.n}}", "l": ["{{headers['x-github-event']}}", 7], "s": "{{system}}" }),
                json!({ "n": 3, "l": ["push", 7], "s": "webhook" }),
            ),
            (json!("{{ payload.n > 2 ? 'many' : 'few' }}"), json!("many")),
        ] {
            assert_eq!(filled(template.clone()).await, Ok(expected), "{template}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_filled_says_why() {
        for (template, why) in [
            (json!("{{payload.who"), "without"),
            (json!("{{body}}"), "`body` is unknown"),
            (json!("{{payload.missing}}"), "there is no `missing`"),
            (json!(["a\0"]), "NUL"),
            (json!("x".repeat(70_000)), "larger than 64 KiB"),
        ] {
            let found = filled(template.clone()).await.unwrap_err();
            assert!(found.contains(why), "{template}: {found}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_template(text in ".{0,80}", expression in "[{}a-z.'\"()\\[\\] ]{0,40}") {
            let _ = Template::compile(&json!([text, { "k": expression }]));
        }
    }
}
