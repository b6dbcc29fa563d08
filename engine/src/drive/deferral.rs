//! Which tools the model sees. An agent with many sees a finder first, and then what it has found; what was found is in
//! the journal, so a replay shows the same.

use std::time::Duration;

use agentcore::{Answer, ToolCall, ToolSpec};
use shared_models::Effect;

use super::{Cx, Run, artifacts};
use crate::record::Record;
use crate::snapshot::SnapshotTool;
use crate::tools::find;

/// What the model is shown.
pub(super) fn shown(cx: &Cx<'_>, run: &Run) -> Vec<ToolSpec> {
    let tools = &cx.snapshot.tools;
    let given = run.given.iter().cloned();
    if !find::is_deferred(tools) {
        return tools.iter().map(spec).chain(given).chain(artifacts::shown(cx, run)).collect();
    }
    let finder = ToolSpec {
        name: find::name(tools).to_owned(),
        description: find::description(tools),
        parameters: find::parameters(),
        effect: Effect::Read,
        timeout: Duration::from_secs(1),
    };
    let found = run.found.iter().filter_map(|name| tools.iter().find(|tool| tool.name == *name));
    std::iter::once(finder)
        .chain(found.map(spec))
        .chain(given)
        .chain(artifacts::shown(cx, run))
        .collect()
}

/// The answer to a call of the finder, or to one of a tool that has not been found; none for any other.
pub(super) fn answer(cx: &Cx<'_>, run: &mut Run, call: &ToolCall) -> Option<Answer> {
    let tools = &cx.snapshot.tools;
    if !find::is_deferred(tools) {
        return None;
    }
    let finder = find::name(tools);
    if call.name != finder {
        // Whether there is one of this name or not: a list of all would be what the finder is there to spare.
        return (!run.found.contains(&call.name)).then(|| {
            Answer::error(format!("look for it first: call `{finder}` with `{}`", call.name))
        });
    }
    let arguments = match agentcore::check_arguments(&find::parameters(), &call.arguments) {
        Ok(arguments) => arguments,
        Err(why) => return Some(Answer::error(why)),
    };
    let query = arguments.get("query").and_then(|query| query.as_str()).unwrap_or_default();
    let found = find::search(tools, query);
    let names: Vec<String> = found
        .iter()
        .map(|tool| tool.name.clone())
        .filter(|name| !run.found.contains(name))
        .collect();
    if !names.is_empty() {
        cx.journal.note(Record::ToolsFound { call_id: call.id.clone(), names: names.clone() });
        run.found.extend(names);
    }
    Some(Answer::ok(find::told(&found)))
}

fn spec(tool: &SnapshotTool) -> ToolSpec {
    ToolSpec {
        name: tool.name.clone(),
        description: tool.description.clone(),
        parameters: tool.parameters.clone(),
        effect: tool.effect,
        timeout: Duration::from_millis(tool.timeout_ms.into()),
    }
}
