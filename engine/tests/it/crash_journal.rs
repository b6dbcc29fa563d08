//! Journals as they can be compared: what is different for every run and every attempt is left out.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::Api;

use crate::scene;

/// What has happened to a run and to the one that works for it.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) run: Vec<Value>,
    pub(crate) child: Vec<Value>,
    /// Each call's tool and how it ended.
    pub(crate) effects: Vec<(String, String)>,
    /// All records as they are: who wrote them, and their kinds.
    kinds: Vec<(String, String)>,
    /// The tools whose calls were in doubt.
    doubted: BTreeSet<String>,
}

/// Records that say who has the run, and how often somebody began.
const ATTEMPTS: [&str; 5] =
    ["resumed", "tool_repeated", "tool_in_doubt", "doubt_answered", "waiting"];

pub(crate) async fn story(api: &Api, run: &str, input: &str) -> Story {
    let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
    let children = tree["children"].as_array().unwrap();
    assert_eq!(children.len(), 1, "one child for every attempt: {tree}");
    let child = children[0]["run_id"].as_str().unwrap();
    let effects = api.get(&format!("/v1/runs/{run}/effects")).await.expect(200);
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let effects = effects["items"].as_array().unwrap().iter();
    let (records, child_records) = (records(api, run).await, records(api, child).await);
    let doubts = records.iter().filter(|record| record.kind == "tool_in_doubt");
    Story {
        doubted: doubts.map(|record| text(&record.data, "tool_name")).collect(),
        effects: effects.map(|row| (text(row, "tool_name"), text(row, "state"))).collect(),
        // The two that make a run were there before anybody had it.
        kinds: records[2..]
            .iter()
            .map(|record| ("run", record))
            .chain(child_records[2..].iter().map(|record| ("child", record)))
            .map(|(who, record)| (record.by(who), record.kind.clone()))
            .collect(),
        run: comparable(records, input),
        child: comparable(child_records, input),
    }
}

struct Record {
    /// Whose conversation it is of; empty for the run's own.
    path: String,
    kind: String,
    data: Value,
}

impl Record {
    fn by(&self, who: &str) -> String {
        if self.path.is_empty() { who.to_owned() } else { format!("{who}/{}", self.path) }
    }
}

async fn records(api: &Api, run: &str) -> Vec<Record> {
    let events = scene::records(&scene::stream(api, run, 0).await);
    let record = |(_, kind, mut event): (i64, String, Value)| {
        let names: Vec<&str> =
            event["path"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        Record { path: names.join("/"), kind, data: event["data"].take() }
    };
    events.into_iter().map(record).collect()
}

/// Member after member: which of them was first is not the same each time.
fn comparable(mut records: Vec<Record>, input: &str) -> Vec<Value> {
    records.sort_by(|one, other| one.path.cmp(&other.path));
    let mut kept: Vec<Value> = Vec::new();
    for Record { path, kind, mut data } in records {
        if ATTEMPTS.contains(&kind.as_str()) {
            continue;
        }
        if kind == "started" {
            data = json!({});
        }
        // Different for every run.
        for name in ["idempotency_key", "approval_id", "binding", "child_run_id", "until"] {
            if let Some(field) = data.get_mut(name) {
                *field = "masked".into();
            }
        }
        let record = json!({ "path": path, "kind": kind, "data": data });
        let text = record.to_string().replace(input, "the input");
        let record: Value = serde_json::from_str(&text).unwrap();
        // A model is asked again when nobody has heard what it said.
        if record["kind"] == "model_called" && kept.last() == Some(&record) {
            continue;
        }
        kept.push(record);
    }
    kept
}

impl Story {
    pub(crate) fn was_doubted(&self, tool: &str) -> bool {
        self.doubted.contains(tool)
    }

    /// Puts what the model was told of a call that went through in the place of what it was told of this one, which did
    /// not; and what models took with that, as they have read other words.
    pub(crate) fn undo_answer(&mut self, tool: &str, undisturbed: &Self) {
        let undisturbed = undisturbed.without_waiting_for(self);
        for (mine, theirs) in self.run.iter_mut().zip(&undisturbed) {
            let kind = mine["kind"].clone();
            if kind == "tool_answered" && mine["data"]["tool_name"] == tool {
                let said = mine["data"]["message"]["content"].as_str().unwrap();
                assert!(said.starts_with("The call did not happen"), "{mine}");
                assert_eq!(mine["data"]["error"], true);
                mine["data"] = theirs["data"].clone();
            }
            if kind == "model_replied" || kind == "finished" {
                for field in ["usage", "cost"] {
                    mine["data"][field] = theirs["data"][field].clone();
                }
            }
        }
    }

    /// The run as it reads without the waiting for calls that nobody could say were taken: what became of them was said
    /// when they were in doubt.
    pub(crate) fn without_waiting_for(&self, doubted: &Self) -> Vec<Value> {
        let waited_for = |record: &Value| {
            record["kind"] == "tool_waiting"
                && doubted.was_doubted(record["data"]["tool_name"].as_str().unwrap())
        };
        self.run.iter().filter(|record| !waited_for(record)).cloned().collect()
    }

    /// Every record, after the two that make a run, has become durable in a commit that was one of these moments.
    pub(crate) fn covered_by(&self, moments: &[Vec<String>]) {
        let sorted = |mut records: Vec<(String, String)>| {
            // Each one's own are in order.
            records.sort_by(|one, other| one.0.cmp(&other.0));
            records
        };
        let written = |name: &String| {
            let (who, record) = name.split_once(": wrote ")?;
            Some((who.to_owned(), record.split_once(" #")?.0.to_owned()))
        };
        let committed = moments.iter().flatten().filter_map(written).collect();
        assert_eq!(sorted(committed), sorted(self.kinds.clone()));
    }
}
