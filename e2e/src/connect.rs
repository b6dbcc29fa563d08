//! Connecting an account at a local provider, through the public address.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use testkit::{
    Api, Idp, Reply,
    idp::{CLIENT_ID, CLIENT_SECRET},
};
use url::Url;

use crate::demo::text;

/// A client of the tenant's, registered at a provider.
pub struct Connector<'a> {
    api: Api,
    anybody: Api,
    idp: &'a Idp,
    client: String,
    /// Links, states and browsers' cookies.
    passed: Mutex<Vec<String>>,
}

impl<'a> Connector<'a> {
    /// Registers it. `url` is the public address.
    pub async fn register(api: &Api, url: &str, idp: &'a Idp) -> Self {
        let body = json!({
            "name": "local", "provider": "generic", "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET, "settings": idp.settings(),
        });
        let made = api.post("/v1/oauth-clients", &body).await.expect(201);
        let client = text(&made, "oauth_client_id");
        Self { api: api.clone(), anybody: Api::at(url), idp, client, passed: Mutex::default() }
    }

    /// Asks for a link: its path, and its session.
    pub async fn link(&self, more: &Value) -> (String, String) {
        let mut body = json!({ "oauth_client_id": self.client });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let made = self.api.post("/v1/connect_sessions", &body).await.expect(201);
        let link: Url = text(&made, "url").parse().unwrap();
        (link.path().to_owned(), text(&made, "connect_session_id"))
    }

    /// Somebody follows the link, says yes at the provider and comes back: the credential's id.
    pub async fn follow(&self, (link, session): (String, String)) -> String {
        let back = self.go(&link, |way| self.idp.approve(way)).await;
        assert_eq!(back.status, 200, "{}", back.text);
        let path = format!("/v1/connect_sessions/{session}");
        let seen = self.api.get(&path).await.expect(200);
        assert_eq!(seen["status"], "connected", "{seen}");
        text(&seen, "credential_id")
    }

    /// Somebody comes back with a code that the provider does not know.
    pub async fn refused(&self, more: &Value) -> Reply {
        let (link, _) = self.link(more).await;
        let code = |way: &Url| format!("{}-changed-on-the-way", self.idp.approve(way));
        let back = self.go(&link, code).await;
        assert_eq!(back.status, 400, "{}", back.text);
        back
    }

    /// To the provider and back, with the code that `code` gives.
    async fn go(&self, link: &str, code: impl FnOnce(&Url) -> String) -> Reply {
        let opened = self.anybody.get(link).await;
        assert_eq!(opened.status, 303, "{}", opened.text);
        let cookie = opened.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let way: Url = opened.header("location").unwrap().parse().unwrap();
        let code = code(&way);
        let state = way.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let browser = cookie.split('=').next_back().unwrap().to_owned();
        let link = link.rsplit('/').next().unwrap().to_owned();
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).extend([
            link,
            state.clone(),
            browser,
        ]);
        let back = format!("/v1/oauth/callback?code={code}&state={state}");
        self.anybody.header("cookie", &cookie).get(&back).await
    }

    /// Both at once.
    pub async fn connect(&self, more: &Value) -> String {
        self.follow(self.link(more).await).await
    }

    /// Every link that was followed, and each state and browser's secret on the way.
    pub fn passed(&self) -> Vec<String> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
