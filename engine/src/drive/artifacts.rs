//! Long results of tools, put aside: the model reads how they begin, and asks for more of them.
//!
//! An artifact is kept beside what was said in the run's tree, under its hash, and told apart from that by its form: a model
//! that guesses the name of a message gets nothing. It goes when the run's content goes.

use agentcore::artifacts::{self, bounded, preview_for};
use agentcore::{Answer, Message, ToolCall, ToolSpec};
use serde::{Deserialize, Serialize};
use shared_models::{Effect, RunId};

use super::{Cx, Run};
use crate::error::Error;
use crate::record::ContentRef;
use crate::snapshot::SnapshotTool;
use crate::store::content;

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    artifact: String,
}

const PREFIX: &str = "art_";

/// Puts a result aside that is too long; gives what the model reads instead.
pub(super) fn put_aside(cx: &Cx<'_>, answer: Answer) -> Result<Answer, Error> {
    if answer.content.len() <= artifacts::LONGEST_RESULT {
        return Ok(answer);
    }
    let (artifact, bytes) = bounded(answer.content);
    let kept = Kept { artifact };
    let body = serde_json::to_vec(&kept).map_err(anyhow::Error::from)?;
    let name = cx.journal.keep_bytes(body);
    let id = format!("{PREFIX}{}", hex::encode(name.0));
    metrics::counter!("engine_artifacts_total").increment(1);
    let tool = name_among(&cx.snapshot.tools);
    let content = preview_for(tool, &id, &kept.artifact, bytes);
    Ok(Answer { content, error: answer.error })
}

/// What the tool is called that reads artifacts: a name that no other tool has.
fn name_among(tools: &[SnapshotTool]) -> &'static str {
    let taken = |name: &str| tools.iter().any(|tool| tool.name == name);
    if taken(artifacts::NAME) { "retrieve_artifact_part" } else { artifacts::NAME }
}

/// The tool that reads artifacts, for a model that has been told of one.
pub(super) fn shown(cx: &Cx<'_>, run: &Run) -> Option<ToolSpec> {
    let told = run.state.messages.iter().any(|message| {
        matches!(message, Message::Tool { content, .. } if artifacts::is_preview(content))
    });
    let name = name_among(&cx.snapshot.tools);
    told.then(|| ToolSpec { name: name.into(), effect: Effect::Read, ..artifacts::spec() })
}

/// The answer to a call of the tool that reads artifacts; none for any other call.
pub(super) async fn answer(cx: &Cx<'_>, call: &ToolCall) -> Result<Option<Answer>, Error> {
    if call.name != name_among(&cx.snapshot.tools) {
        return Ok(None);
    }
    let arguments = match agentcore::check_arguments(&artifacts::spec().parameters, &call.arguments)
    {
        Ok(arguments) => arguments,
        Err(why) => return Ok(Some(Answer::error(why))),
    };
    let id = arguments["artifact_id"].as_str().unwrap_or_default();
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let found = find(&mut tx, cx.claimed.root, id).await?;
    drop(tx);
    Ok(Some(match found {
        Some(text) => Answer::ok(artifacts::part(&text, &arguments)),
        None => Answer::error(format!("there is no artifact `{id}`")),
    }))
}

/// The text of an artifact of a tree of runs.
pub(crate) async fn find(
    tx: &mut dbutil::TenantTx,
    root: RunId,
    id: &str,
) -> Result<Option<String>, sqlx::Error> {
    let mut hash = [0; 32];
    let name = id.strip_prefix(PREFIX).unwrap_or_default();
    if hex::decode_to_slice(name, &mut hash).is_err() {
        return Ok(None);
    }
    let name = ContentRef(hash);
    let body = content::find(tx, root, &[name]).await?.remove(&name);
    let kept = body.and_then(|body| serde_json::from_slice::<Kept>(&body).ok());
    Ok(kept.map(|kept| kept.artifact))
}
