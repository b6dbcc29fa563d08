//! Finding tools by words, for agents that have too many of them to show each model call.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::snapshot::SnapshotTool;

/// An agent with more tools sees only those it has found.
pub(crate) const MOST_SHOWN: usize = 24;
/// Found at once.
const MOST_FOUND: usize = 8;

/// Whether an agent with these tools has to look for them.
pub(crate) fn is_deferred(tools: &[SnapshotTool]) -> bool {
    tools.len() > MOST_SHOWN
}

/// What the finder is called: a name that no tool has.
pub(crate) fn name(tools: &[SnapshotTool]) -> &'static str {
    let taken = |name: &str| tools.iter().any(|tool| tool.name == name);
    if taken("find_tools") { "find_tools_by_words" } else { "find_tools" }
}

pub(crate) fn description(tools: &[SnapshotTool]) -> String {
    format!(
        "You have {} tools, and see those you have found. Say in a few words what you want to do; the tools that are \
         found can be called from then on.",
        tools.len()
    )
}

pub(crate) fn parameters() -> Value {
    json!({ "type": "object", "required": ["query"], "additionalProperties": false, "properties": {
        "query": { "type": "string", "minLength": 1, "maxLength": 500,
            "description": "Words, such as `create invoice`, or the name of a tool." } } })
}

/// The tools that fit the words best, best first. The same words always find the same.
pub(crate) fn search<'a>(tools: &'a [SnapshotTool], query: &str) -> Vec<&'a SnapshotTool> {
    let wanted: BTreeSet<String> = words(query).collect();
    let mut scored: Vec<(usize, &SnapshotTool)> = tools
        .iter()
        .map(|tool| (score(tool, &wanted, query), tool))
        .filter(|(score, _)| *score > 0)
        .collect();
    // Stable: of equals the agent's own order decides.
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    scored.into_iter().take(MOST_FOUND).map(|(_, tool)| tool).collect()
}

/// What the model is told of what it has found.
pub(crate) fn told(found: &[&SnapshotTool]) -> String {
    if found.is_empty() {
        return "nothing fits these words; try others".into();
    }
    let tools: Vec<Value> = found
        .iter()
        .map(|tool| json!({ "name": tool.name, "description": tool.description }))
        .collect();
    json!({ "found": tools, "note": "you can call these now" }).to_string()
}

fn score(tool: &SnapshotTool, wanted: &BTreeSet<String>, query: &str) -> usize {
    if tool.name.eq_ignore_ascii_case(query.trim()) {
        return usize::MAX;
    }
    let name: BTreeSet<String> = words(&tool.name).collect();
    let description: BTreeSet<String> = words(&tool.description).collect();
    let parameters = tool.parameters.get("properties").and_then(Value::as_object);
    let parameters: BTreeSet<String> =
        parameters.into_iter().flat_map(|all| all.keys()).flat_map(|key| words(key)).collect();
    let has = |texts: &BTreeSet<String>, word: &String| {
        texts.contains(word)
            || (word.len() > 3 && texts.iter().any(|text| text.starts_with(&**word)))
    };
    wanted
        .iter()
        .map(|word| {
            4 * usize::from(has(&name, word))
                + 2 * usize::from(has(&description, word))
                + usize::from(has(&parameters, word))
        })
        .sum()
}

/// Words in lower case; `camelCase` and `snake_case` are several. A plural is its singular.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut apart = String::with_capacity(text.len() + 8);
    let mut lower = false;
    for c in text.chars() {
        if c.is_uppercase() && lower {
            apart.push(' ');
        }
        lower = c.is_lowercase();
        apart.extend(c.to_lowercase());
    }
    let words: Vec<String> = apart
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| match word.strip_suffix('s') {
            Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem.to_owned(),
            _ => word.to_owned(),
        })
        .collect();
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use shared_models::{Effect, ToolId, ToolKind};

    use super::*;

    fn tool(name: &str, description: &str) -> SnapshotTool {
        SnapshotTool {
            tool_id: ToolId::mint(),
            version: 1,
            name: name.into(),
            description: description.into(),
            parameters: json!({ "type": "object", "properties": { "customerId": {} } }),
            effect: Effect::Read,
            timeout_ms: 1000,
            kind: ToolKind::Http,
            config: json!({}),
            credential_id: None,
            credential_hosts: Vec::new(),
            approval: None,
            probe: None,
        }
    }

    #[test]
    fn tools_are_found_by_the_words_of_their_names_and_descriptions() {
        let tools = [
            tool("list_invoices", "Lists what customers owe."),
            tool("createInvoice", "Makes an invoice."),
            tool("send_mail", "Sends a message to a customer."),
        ];
        let found =
            |query| search(&tools, query).iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>();

        assert_eq!(found("create an invoice")[0], "createInvoice");
        assert_eq!(found("SEND_MAIL")[0], "send_mail");
        assert_eq!(found("invoices").len(), 2);
        assert_eq!(found("customer id").len(), 3);
        assert!(found("weather").is_empty());
        assert!(found("  ").is_empty());
    }

    #[test]
    fn never_are_more_found_than_are_of_use() {
        let tools: Vec<_> = (0..100).map(|n| tool(&format!("get_thing_{n}"), "")).collect();
        let found = search(&tools, "get thing");
        assert_eq!(found.len(), MOST_FOUND);
        assert_eq!(found[0].name, "get_thing_0");
    }
}
