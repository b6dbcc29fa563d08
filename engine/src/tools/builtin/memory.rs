//! What an agent remembers from one run to the next.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::text;
use crate::{
    app::App,
    store::memory,
    toolbox::{CallCx, Outcome},
};

const LONGEST_KEY: usize = 200;
const LONGEST_VALUE: usize = 16 * 1024;
/// Facts about one subject; more are an archive, not a memory.
pub(crate) const MOST_FACTS: i64 = 1000;
/// Facts in one answer.
const MOST_TOLD: i64 = 50;

/// What a memory is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum About {
    /// The agent itself, whoever it talks to.
    #[default]
    Agent,
    /// The person it talks to: `end_user_id` of the run.
    EndUser,
    /// The conversation.
    Conversation,
}

pub(super) fn describe_read() -> (&'static str, Value) {
    let parameters = json!({ "type": "object", "additionalProperties": false, "properties": {
        "key": { "type": "string", "description": "Exactly this fact." },
        "search": { "type": "string", "description": "Facts with this text in their key or value." } } });
    (
        "Looks up what you have been told to remember: one fact, a search, or the newest facts.",
        parameters,
    )
}

pub(super) fn describe_write() -> (&'static str, Value) {
    let parameters = json!({ "type": "object", "additionalProperties": false, "required": ["key"],
        "properties": { "key": { "type": "string", "minLength": 1, "maxLength": LONGEST_KEY },
            "value": { "type": "string", "maxLength": LONGEST_VALUE,
                "description": "The fact; without one, the key is forgotten." } } });
    (
        "Remembers a fact under a key for later runs, in place of what was there, or forgets it.",
        parameters,
    )
}

pub(super) async fn read(app: &App, cx: &CallCx, about: About, arguments: &Value) -> Outcome {
    let look = async {
        let mut tx = app.db.begin(cx.tenant).await?;
        let Some(subject) = memory::subject(&mut tx, cx.run, about).await? else {
            return Ok(None);
        };
        let (key, search) = (text(arguments, "key"), text(arguments, "search"));
        memory::find(&mut tx, cx.agent_id, &subject, key, search, MOST_TOLD).await.map(Some)
    };
    let facts: Result<Option<Vec<memory::Fact>>, sqlx::Error> = look.await;
    match facts {
        Err(error) => unavailable(&error),
        Ok(None) => nobody(about),
        Ok(Some(facts)) if facts.is_empty() => Outcome::Done("nothing is remembered".into()),
        Ok(Some(facts)) => Outcome::Done(json!({ "facts": facts }).to_string()),
    }
}

pub(super) async fn write(app: &App, cx: &CallCx, about: About, arguments: &Value) -> Outcome {
    let Some(key) = text(arguments, "key").filter(|key| key.len() <= LONGEST_KEY) else {
        return Outcome::Failed(format!("a key of 1 to {LONGEST_KEY} characters"));
    };
    let value = text(arguments, "value");
    if value.is_some_and(|value| value.len() > LONGEST_VALUE) {
        return Outcome::Failed("at most 16 KiB".into());
    }
    let (key, value) = (key.replace('\0', ""), value.map(|value| value.replace('\0', "")));
    let keep = async {
        let mut tx = app.db.begin(cx.tenant).await?;
        let Some(subject) = memory::subject(&mut tx, cx.run, about).await? else {
            return Ok(None);
        };
        let kept = match &value {
            Some(value) => memory::put(&mut tx, cx.agent_id, &subject, &key, value).await?,
            None => memory::delete(&mut tx, cx.agent_id, &subject, &key).await.map(|()| true)?,
        };
        tx.commit().await?;
        Ok(Some(kept))
    };
    let kept: Result<Option<bool>, sqlx::Error> = keep.await;
    match (kept, value) {
        (Err(error), _) => unavailable(&error),
        (Ok(None), _) => nobody(about),
        (Ok(Some(false)), _) => {
            Outcome::Failed(format!("{MOST_FACTS} facts are remembered already: forget some"))
        }
        (Ok(Some(true)), Some(_)) => Outcome::Done("remembered".into()),
        (Ok(Some(true)), None) => Outcome::Done("forgotten".into()),
    }
}

fn nobody(about: About) -> Outcome {
    let what = if about == About::EndUser { "end user" } else { "conversation" };
    Outcome::Failed(format!("this run has no {what}"))
}

/// Nothing was done, or it may be done again.
fn unavailable(error: &sqlx::Error) -> Outcome {
    tracing::warn!(%error, "an agent's memory cannot be reached");
    Outcome::Unknown("the memory cannot be reached now".into())
}
