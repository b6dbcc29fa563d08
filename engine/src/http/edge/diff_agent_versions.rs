//! `GET /v1/agents/{agent_id}/versions/{version}/diff`

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::{Caller, Params, Path, scope::AgentsRead};
use shared_models::{AgentId, ProblemBody};

use crate::{
    app::App,
    error::Error,
    store::{
        self,
        agent_version::{self, AgentVersion},
    },
    visibility::Viewer,
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Against {
    /// The other version; the one before unless said.
    against: Option<i32>,
}

/// What differs between two versions of an agent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct VersionDiff {
    agent_id: AgentId,
    from: i32,
    to: i32,
    /// In the order of their pointers; empty when the versions are the same.
    changes: Vec<Difference>,
}

/// One place that differs.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Difference {
    /// Where, as a JSON pointer. Tools go by their ids: `/tools/tool_…/config/url`.
    pointer: String,
    /// What was there; null when nothing was.
    from: Value,
    /// What is there instead; null when it is gone.
    to: Value,
}

/// What an edit changed: a list of places, each with what was there and what is there.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/versions/{version}/diff", tag = "agents",
    params(("agent_id" = AgentId, Path), ("version" = i32, Path), Against),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = VersionDiff, example = json!({ "agent_id": "agt_0190c0de00007000800000000000000a",
            "from": 1, "to": 2, "changes": [{ "pointer": "/temperature", "from": 1.0, "to": 0.2 }] })),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn diff_agent_versions(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path((agent_id, to)): Path<(AgentId, i32)>,
    Params(asked): Params<Against>,
) -> Result<Json<VersionDiff>, Error> {
    let from = asked.against.unwrap_or_else(|| to.saturating_sub(1).max(1));
    let mut tx = app.db.begin(caller.tenant).await?;
    store::agent::find_visible(&mut tx, &Viewer::of(&caller), agent_id).await?;
    let mut documents = Vec::with_capacity(2);
    for version in [from, to] {
        let found = agent_version::find(&mut tx, agent_id, version).await?;
        documents.push(document(found.ok_or(Error::VersionNotFound(version))?)?);
    }
    let mut changes = Vec::new();
    if let [before, after] = documents.as_slice() {
        compare(before, after, String::new(), &mut changes);
    }
    Ok(Json(VersionDiff { agent_id, from, to, changes }))
}

/// What was edited, with tools by their ids.
fn document(version: AgentVersion) -> Result<Value, Error> {
    let mut document = serde_json::to_value(&version.fields).map_err(anyhow::Error::from)?;
    let by_id = |mut tool: Value| {
        let id = tool.as_object_mut()?.remove("tool_id")?;
        Some((id.as_str()?.to_owned(), tool))
    };
    let tools: Map<String, Value> = version.tools.into_iter().filter_map(by_id).collect();
    document["tools"] = Value::Object(tools);
    Ok(document)
}

pub(crate) fn compare(
    before: &Value,
    after: &Value,
    pointer: String,
    changes: &mut Vec<Difference>,
) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        changes.push(Difference { pointer, from: before.clone(), to: after.clone() });
        return;
    };
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let inside = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        let at = |side: &Map<String, Value>| side.get(name).cloned().unwrap_or_default();
        compare(&at(old), &at(new), inside, changes);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_listed_with_both_sides() {
        let before = json!({ "a": 1, "b": { "c": [1, 2], "d/e": "x" }, "f": null, "tools": {} });
        let after = json!({ "a": 1, "b": { "c": [2, 1] }, "f": 0, "tools": { "t": { "p": 1 } } });

        let mut changes = Vec::new();
        compare(&before, &after, String::new(), &mut changes);

        let change = |pointer: &str, from, to| Difference { pointer: pointer.into(), from, to };
        assert_eq!(
            changes,
            [
                change("/b/c", json!([1, 2]), json!([2, 1])),
                change("/b/d~1e", json!("x"), Value::Null),
                change("/f", Value::Null, json!(0)),
                change("/tools/t", Value::Null, json!({ "p": 1 })),
            ]
        );
    }
}
