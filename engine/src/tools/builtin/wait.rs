//! Lets time pass. The run holds nothing meanwhile, and whoever has it then goes on.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::text;
use crate::{
    app::App,
    store::clock,
    toolbox::{CallCx, Outcome, Waiting},
};

/// Thirty days; a run that is to wait for so long needs a deadline that is later still.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn describe() -> (&'static str, Value) {
    let parameters = json!({ "type": "object", "additionalProperties": false, "properties": {
        "seconds": { "type": "number", "minimum": 0, "maximum": LONGEST.as_secs(),
            "description": "How long to wait." },
        "until": { "type": "string", "description": "Or a moment to wait for, as RFC 3339." } } });
    ("Waits: for some seconds, or until a moment. Nothing else happens meanwhile.", parameters)
}

/// What is to be waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pause {
    For(Duration),
    Until(DateTime<Utc>),
}

pub(super) async fn call(app: &App, cx: &CallCx, arguments: &Value) -> Outcome {
    let pause = match read(arguments) {
        Ok(pause) => pause,
        Err(why) => return Outcome::Failed(why),
    };
    let now = match now(app, cx).await {
        Ok(now) => now,
        Err(error) => {
            tracing::warn!(%error, "how long to wait cannot be said now");
            return Outcome::Unknown("the time could not be told".into());
        }
    };
    let left = match pause {
        Pause::For(left) => left,
        Pause::Until(moment) => (moment - now).to_std().unwrap_or_default(),
    };
    if left > LONGEST {
        return Outcome::Failed("that is more than thirty days away".into());
    }
    Outcome::Waits(Waiting::Timer { until: now + left, left })
}

fn read(arguments: &Value) -> Result<Pause, String> {
    match (arguments.get("seconds").and_then(Value::as_f64), text(arguments, "until")) {
        (Some(seconds), None) => Duration::try_from_secs_f64(seconds)
            .map(Pause::For)
            .map_err(|_| format!("{seconds} is no number of seconds")),
        (None, Some(text)) => DateTime::parse_from_rfc3339(text)
            .map(|moment| Pause::Until(moment.to_utc()))
            .map_err(|error| format!("`{text}` is no moment as RFC 3339 writes it: {error}")),
        _ => Err("say `seconds` or `until`, one of them".into()),
    }
}

/// By the database's clock, as everything else that is waited for.
async fn now(app: &App, cx: &CallCx) -> Result<DateTime<Utc>, sqlx::Error> {
    clock::now(&mut app.db.begin(cx.tenant).await?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_so_long_or_until_a_moment_and_never_both() {
        let moment = "2026-01-15T12:00:00Z";

        assert_eq!(read(&json!({ "seconds": 1.5 })), Ok(Pause::For(Duration::from_millis(1500))));
        assert_eq!(read(&json!({ "until": moment })), Ok(Pause::Until(moment.parse().unwrap())));
        assert!(read(&json!({ "seconds": 1, "until": moment })).is_err());
        assert!(read(&json!({})).is_err());
        assert!(read(&json!({ "seconds": -1 })).unwrap_err().contains("-1"));
        assert!(read(&json!({ "until": "soon" })).unwrap_err().contains("`soon`"));
    }
}
