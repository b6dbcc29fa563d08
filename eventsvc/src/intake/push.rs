//! A push of Gmail's to the platform's one address: it says only which mailbox has something, and only rings the bell of
//! those that listen to it. Whose mailbox that is was proven by the credential that read its profile.

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use servicekit::{Problem, codes};

use super::{Answer, Arrived, body};
use crate::{
    app::App,
    error::Error,
    store::{account, lease},
    verify::google,
};

const LARGEST: usize = 64 * 1024;

#[derive(Deserialize)]
struct Pushed {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct News {
    email_address: String,
}

/// Takes a push in. One for a mailbox that nobody listens to is fine: it would only come again.
pub(crate) async fn receive(app: &App, arrived: &Arrived, body: Body) -> Result<Answer, Problem> {
    let verify = app.gmail_push.as_ref().ok_or_else(|| Problem::not_found("such hook"))?;
    let body = body::read(&arrived.headers, body, LARGEST).await?;
    let kid = google::key_id(&arrived.headers).map_err(Error::BadSignature)?;
    let keys = app.google.keys(&kid).await?;
    let now = app.clock.now();
    google::verify(verify, &arrived.headers, now, &keys).map_err(Error::BadSignature)?;
    let email = mailbox(&body).ok_or_else(|| {
        Problem::new(&codes::MALFORMED_REQUEST, "the push does not say which mailbox it is about")
    })?;
    let mut tx = app.db.system("which tenants listen to a mailbox").await?;
    let sources = account::of_mailbox(&mut tx, &email).await?;
    tx.commit().await?;
    for (tenant, source) in sources {
        let mut tx = app.db.begin(tenant).await?;
        lease::ring(&mut tx, source).await?;
        tx.commit().await?;
    }
    app.listeners.notify_waiters();
    Ok(Answer::Noted)
}

fn mailbox(body: &[u8]) -> Option<String> {
    let pushed: Pushed = serde_json::from_slice(body).ok()?;
    let news: News = serde_json::from_slice(&STANDARD.decode(pushed.message.data).ok()?).ok()?;
    Some(news.email_address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_mailbox_is_read_from_the_message() {
        let data = STANDARD.encode(r#"{"emailAddress":"ann@example.com","historyId":"9"}"#);
        let body = json!({ "message": { "data": data, "messageId": "1" }, "subscription": "s" });

        assert_eq!(mailbox(body.to_string().as_bytes()).as_deref(), Some("ann@example.com"));
    }

    proptest! {
        #[test]
        fn no_push_breaks_the_reader(
            data in "[a-zA-Z0-9+/={}\":]{0,60}",
            raw in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = mailbox(&raw);
            let _ = mailbox(json!({ "message": { "data": data } }).to_string().as_bytes());
        }
    }
}
