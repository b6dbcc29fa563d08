//! Slack, as its documents say: whose a token is, which app a bot belongs to, and events that come again when nobody took
//! them in time.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{Answer, Stub, Stubbed};

/// The app whose bots' tokens are `bot-<team>`; those of another app's are `other-<team>`, a person's `person-<team>`, and
/// of a bot that may not ask about bots `blind-<team>`.
pub const SLACK_APP: &str = "A1";
/// How often Slack tries once more.
const RETRIES: usize = 3;

/// A stand-in for Slack.
pub struct Slack {
    stub: Stub,
}

impl Slack {
    /// Starts it.
    pub async fn start() -> Self {
        Self { stub: Stub::start(answer).await }
    }

    /// Where its interface is.
    pub fn url(&self) -> String {
        format!("{}/api", self.stub.url())
    }
}

/// The headers of a delivery, signed with an app's secret at a moment in seconds.
pub fn slack_signature(secret: &str, body: &str, seconds: i64) -> [(&'static str, String); 2] {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    let mac = mac.chain_update(format!("v0:{seconds}:{body}")).finalize().into_bytes();
    let signature = mac.iter().fold("v0=".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    [("x-slack-signature", signature), ("x-slack-request-timestamp", seconds.to_string())]
}

/// Delivers as Slack does: what is not answered with 2xx comes three times more, and says so. Tells what each try was
/// answered.
pub async fn slack_delivers(
    secret: &str,
    event: &Value,
    seconds: i64,
    mut post: impl AsyncFnMut(Vec<(&'static str, String)>, String) -> u16,
) -> Vec<u16> {
    let (body, mut answers) = (event.to_string(), Vec::new());
    for retry in 0..=RETRIES {
        let mut headers = Vec::from(slack_signature(secret, &body, seconds));
        if retry > 0 {
            headers.push(("x-slack-retry-num", retry.to_string()));
            headers.push(("x-slack-retry-reason", "http_error".into()));
        }
        let answered = post(headers, body.clone()).await;
        answers.push(answered);
        if (200..300).contains(&answered) {
            break;
        }
    }
    answers
}

fn answer(request: &Stubbed) -> Answer {
    let refuse = |error: &str| Answer::Json(200, json!({ "ok": false, "error": error }));
    let token = request.header("authorization").trim_start_matches("Bearer ");
    let Some((whose @ ("bot" | "other" | "person" | "blind"), team)) = token.split_once('-') else {
        return refuse("invalid_auth");
    };
    let bot = format!("B-{whose}");
    match request.path.as_str() {
        "/api/auth.test" if whose == "person" => {
            Answer::Json(200, json!({ "ok": true, "team_id": team, "user_id": "U1" }))
        }
        "/api/auth.test" => Answer::Json(
            200,
            json!({ "ok": true, "team_id": team, "user_id": "U1", "bot_id": bot }),
        ),
        "/api/bots.info" if whose == "blind" => {
            let lacks = json!({ "ok": false, "error": "missing_scope", "needed": "users:read",
                "provided": "chat:write" });
            Answer::Json(200, lacks)
        }
        "/api/bots.info" if request.query != format!("bot={bot}") => refuse("bot_not_found"),
        "/api/bots.info" => {
            let app = if whose == "bot" { SLACK_APP } else { "A2" };
            let told = json!({ "id": bot, "deleted": false, "name": "bot", "app_id": app });
            Answer::Json(200, json!({ "ok": true, "bot": told }))
        }
        _ => refuse("unknown_method"),
    }
}
