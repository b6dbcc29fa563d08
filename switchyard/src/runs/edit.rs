//! What is different in a fork, as it is said on the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::api::Usage;

/// `NAME=TEXT`, `NAME=@FILE` or `NAME:=JSON`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Edit {
    name: Name,
    given: Given,
}

#[derive(Clone, Debug, PartialEq)]
enum Name {
    /// A field of the edits.
    Field(&'static str),
    /// A field of those of a swarm's member.
    Member { path: String, field: &'static str },
    /// What a tool has answered to this call, and in a swarm whose call it was.
    ToolResult { path: Option<String>, call: String },
}

#[derive(Clone, Debug, PartialEq)]
enum Given {
    Text(String),
    File(PathBuf),
    Json(Value),
}

const KNOWN: &str = "input, instructions (or prompt), model, agent_version and tool_results/<call_id>, of a swarm's run \
    input, swarm_version, members/<path>/<instructions, model or agent_version> and tool_results/<path>/<call_id>,";

impl FromStr for Edit {
    type Err = String;

    fn from_str(said: &str) -> Result<Self, String> {
        let (name, value) =
            said.split_once('=').ok_or("say NAME=TEXT, NAME=@FILE or NAME:=JSON")?;
        let (name, given) = match name.strip_suffix(':') {
            Some(name) => {
                let json = serde_json::from_str(value);
                (name, Given::Json(json.map_err(|error| format!("`{name}` is no JSON: {error}"))?))
            }
            None => match value.strip_prefix('@') {
                Some("") => return Err(format!("`{name}` names no file")),
                Some(file) => (name, Given::File(file.into())),
                None => (name, Given::Text(value.to_owned())),
            },
        };
        Ok(Self { name: name.parse()?, given })
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let unknown = || format!("`{name}` cannot be edited; {KNOWN} can");
        if let Some(call) = name.strip_prefix("tool_results/").filter(|call| !call.is_empty()) {
            let (path, call) = match call.rsplit_once('/') {
                Some((path, call)) => (Some(path.to_owned()), call),
                None => (None, call),
            };
            return Ok(Self::ToolResult { path, call: call.to_owned() });
        }
        if let Some((path, field)) =
            name.strip_prefix("members/").and_then(|name| name.rsplit_once('/'))
        {
            let field = of_an_agent(field).ok_or_else(unknown)?;
            return Ok(Self::Member { path: path.to_owned(), field });
        }
        let of_the_run = ["input", "swarm_version"].into_iter().find(|known| *known == name);
        of_an_agent(name).or(of_the_run).map(Self::Field).ok_or_else(unknown)
    }
}

fn of_an_agent(field: &str) -> Option<&'static str> {
    match field {
        "instructions" | "prompt" => Some("instructions"),
        "model" => Some("model"),
        "agent_version" => Some("agent_version"),
        _ => None,
    }
}

/// The names of a path, as it is said with slashes between.
pub(super) fn names(path: &str) -> Vec<&str> {
    path.split('/').collect()
}

/// The edits of a request.
pub(super) fn body(edits: Vec<Edit>) -> anyhow::Result<Value> {
    let (mut fields, mut results) = (Map::new(), Vec::new());
    let mut members: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for Edit { name, given } in edits {
        let (into, field) = match name {
            Name::ToolResult { path, call } => {
                results.push(given.result(path.as_deref(), &call)?);
                continue;
            }
            Name::Field(field) => (&mut fields, field),
            Name::Member { path, field } => (members.entry(path).or_default(), field),
        };
        if into.insert(field.to_owned(), given.value(field)?).is_some() {
            return Err(Usage(format!("`{field}` is edited twice")).into());
        }
    }
    if !members.is_empty() {
        let member = |(path, mut fields): (String, Map<String, Value>)| {
            fields.insert("path".into(), names(&path).into());
            Value::Object(fields)
        };
        fields.insert("members".into(), members.into_iter().map(member).collect());
    }
    if !results.is_empty() {
        fields.insert("tool_results".into(), results.into());
    }
    Ok(Value::Object(fields))
}

impl Given {
    fn value(self, field: &str) -> anyhow::Result<Value> {
        let text = match self {
            Self::Json(value) => return Ok(value),
            Self::File(path) => read(&path)?,
            Self::Text(text) => text,
        };
        if field.ends_with("_version") {
            let version: Result<i32, _> = text.trim().parse();
            let wrong = || Usage(format!("`{field}` is a number, and not `{text}`"));
            return Ok(version.map_err(|_| wrong())?.into());
        }
        Ok(text.into())
    }

    /// As text it has gone well; as JSON it says itself whether it has.
    fn result(self, path: Option<&str>, call: &str) -> anyhow::Result<Value> {
        let mut result = match self {
            Self::Json(Value::Object(fields)) if fields.contains_key("content") => fields,
            Self::Json(_) => {
                let form = r#"{"content": "…", "error": true}"#;
                return Err(Usage(format!("`tool_results/{call}` as JSON is {form}")).into());
            }
            Self::File(path) => Map::from_iter([("content".into(), read(&path)?.into())]),
            Self::Text(text) => Map::from_iter([("content".into(), text.into())]),
        };
        result.insert("call_id".into(), call.into());
        if let Some(path) = path {
            result.insert("path".into(), names(path).into());
        }
        Ok(Value::Object(result))
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(edits: &[&str]) -> anyhow::Result<Value> {
        let edits: Result<Vec<Edit>, String> = edits.iter().map(|edit| edit.parse()).collect();
        body(edits.map_err(Usage)?)
    }

    #[test]
    fn edits_are_texts_files_and_json() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("prompt.md");
        std::fs::write(&file, "Be brief.\n").unwrap();
        let prompt = format!("prompt=@{}", file.display());

        let body = said(&[
            "input=a=b",
            &prompt,
            "model=sim:echo",
            "agent_version=3",
            "tool_results/call_1=fine",
            r#"tool_results/call_2:={"content":"down","error":true}"#,
        ]);

        assert_eq!(
            body.unwrap(),
            json!({ "input": "a=b", "instructions": "Be brief.\n", "model": "sim:echo", "agent_version": 3,
                "tool_results": [{ "call_id": "call_1", "content": "fine" },
                    { "call_id": "call_2", "content": "down", "error": true }] })
        );
        assert_eq!(said(&[r#"input:={"a":1}"#]).unwrap(), json!({ "input": { "a": 1 } }));
        assert_eq!(said(&[]).unwrap(), json!({}));
    }

    #[test]
    fn of_a_swarm_it_is_said_whose_they_are() {
        let body = said(&[
            "swarm_version=2",
            "members/desk/writer/model=sim:echo",
            "members/desk/writer/prompt=short",
            "members/lead/agent_version=1",
            "tool_results/desk/writer/call_1=fine",
        ]);

        assert_eq!(
            body.unwrap(),
            json!({ "swarm_version": 2,
                "members": [{ "path": ["desk", "writer"], "model": "sim:echo", "instructions": "short" },
                    { "path": ["lead"], "agent_version": 1 }],
                "tool_results": [{ "path": ["desk", "writer"], "call_id": "call_1", "content": "fine" }] })
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_as_wrong_usage() {
        for (edits, why) in [
            (&["model"][..], "NAME=TEXT"),
            (&["temperature=1"], "`temperature` cannot be edited"),
            (&["tool_results/=x"], "cannot be edited"),
            (&["members/lead/temperature=x"], "cannot be edited"),
            (&["members/lead/model=a", "members/lead/model=b"], "edited twice"),
            (&["input:={"], "`input` is no JSON"),
            (&["prompt=@"], "names no file"),
            (&["agent_version=new"], "`agent_version` is a number"),
            (&["prompt=a", "instructions=b"], "`instructions` is edited twice"),
            (&["tool_results/c:=1"], r#"is {"content""#),
        ] {
            let error = said(edits).unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains(why), "{error}");
        }
        let error = said(&["prompt=@/no/such/file"]).unwrap_err();
        assert!(!error.is::<Usage>() && error.to_string().contains("/no/such/file"), "{error}");
    }
}
