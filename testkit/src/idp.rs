//! A local OAuth 2 provider, as strict as the strictest and as unwell as told: refresh tokens are good once, answers get
//! lost after the token was used up, errors come with any status, its clock is wrong.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{Answer, Stub, Stubbed};

/// What our client is called there.
pub const CLIENT_ID: &str = "client-of-switchyard";
/// Its secret.
pub const CLIENT_SECRET: &str = "client-secret-0123456789abcdef";

/// How it treats one request to its token endpoint.
#[derive(Clone, Debug)]
pub enum Mood {
    /// It does what was asked, and the answer is lost.
    Loses,
    /// It does nothing, and answers with this status and body.
    Says(u16, Value),
    /// It answers well, after a while.
    Slow(Duration),
    /// It does nothing, and never answers.
    Silent,
}

#[derive(Default)]
struct State {
    moods: VecDeque<Mood>,
    /// Code → what it is bound to.
    codes: BTreeMap<String, Code>,
    /// Refresh token → what is known of it.
    refresh: BTreeMap<String, Refresh>,
    issued: Vec<String>,
    access: Vec<String>,
    refreshed: usize,
    expires_in: u64,
    grace: bool,
    absolute: Option<i64>,
    fresh: usize,
}

struct Code {
    challenge: Option<String>,
    redirect: String,
}

#[derive(Clone)]
enum Refresh {
    Good,
    /// Used up; what it was exchanged for.
    Used(Value),
}

/// A running provider; stops when dropped.
pub struct Idp {
    stub: Stub,
    state: Arc<Mutex<State>>,
}

impl Idp {
    /// Starts one whose access tokens live for an hour.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State { expires_in: 3600, ..State::default() }));
        let shared = state.clone();
        let stub = Stub::start(move |request| answer(&shared, request)).await;
        Self { stub, state }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.stub.url()
    }

    /// What a registered client's settings must say.
    pub fn settings(&self) -> Value {
        json!({
            "authorize_url": format!("{}/authorize", self.url()),
            "token_url": format!("{}/token", self.url()),
            "revoke_url": format!("{}/revoke", self.url()),
            "issuer": self.url(),
        })
    }

    /// Somebody says yes to what this address asks: gives the code.
    pub fn approve(&self, asked: &Url) -> String {
        let query: BTreeMap<String, String> = asked.query_pairs().into_owned().collect();
        assert_eq!(query["client_id"], CLIENT_ID, "{asked}");
        let mut state = self.state();
        let code = fresh(&mut state, "code");
        let challenge = query.get("code_challenge").cloned();
        state
            .codes
            .insert(code.clone(), Code { challenge, redirect: query["redirect_uri"].clone() });
        code
    }

    /// How the next requests are treated, in this order; after them all is well.
    pub fn will(&self, moods: impl IntoIterator<Item = Mood>) {
        self.state().moods.extend(moods);
    }

    /// A refresh token that was used up gives the same answer again.
    pub fn grant_grace(&self) {
        self.state().grace = true;
    }

    /// How long access tokens live from now on.
    pub fn set_expires_in(&self, seconds: u64) {
        self.state().expires_in = seconds;
    }

    /// Says absolute times from now on, by a clock that is wrong by so many seconds.
    pub fn set_clock_wrong_by(&self, seconds: i64) {
        self.state().absolute = Some(seconds);
    }

    /// Forgets every refresh token, as when a person takes the app away.
    pub fn forget_everybody(&self) {
        self.state().refresh.clear();
    }

    /// How often a refresh token was exchanged.
    pub fn refreshes(&self) -> usize {
        self.state().refreshed
    }

    /// How often it was asked for a token.
    pub fn asked(&self) -> usize {
        self.stub.hits("/token")
    }

    /// Whether it was told to take a token back.
    pub fn revoked(&self) -> usize {
        self.stub.hits("/revoke")
    }

    /// The newest access token.
    pub fn newest(&self) -> String {
        self.state().access.last().cloned().unwrap_or_default()
    }

    /// Every token and code it ever gave out.
    pub fn secrets(&self) -> Vec<String> {
        self.state().issued.clone()
    }

    /// Every PKCE verifier that was shown to it.
    pub fn verifiers(&self) -> Vec<String> {
        self.shown("/token", "code_verifier")
    }

    /// Every token that it was told to take back, in that order.
    pub fn taken_back(&self) -> Vec<String> {
        self.shown("/revoke", "token")
    }

    /// The newest refresh token.
    pub fn newest_refresh(&self) -> String {
        let state = self.state();
        let refresh = state.issued.iter().rev().find(|secret| secret.starts_with("refresh"));
        refresh.cloned().unwrap_or_default()
    }

    fn shown(&self, path: &str, field: &str) -> Vec<String> {
        let requests = self.stub.requests().into_iter().filter(|request| request.path == path);
        let forms = requests.flat_map(|request| {
            url::form_urlencoded::parse(&request.body).into_owned().collect::<Vec<_>>()
        });
        forms.filter(|(name, _)| name == field).map(|(_, value)| value).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no poisoned lock")
    }
}

fn answer(state: &Mutex<State>, request: &Stubbed) -> Answer {
    if request.path != "/token" {
        return Answer::Json(200, json!({}));
    }
    let mut state = state.lock().expect("no poisoned lock");
    let mood = state.moods.pop_front();
    match mood {
        Some(Mood::Says(status, body)) => Answer::Json(status, body),
        Some(Mood::Silent) => Answer::Never,
        Some(Mood::Loses) => {
            exchange(&mut state, request);
            Answer::Reset
        }
        Some(Mood::Slow(pause)) => Answer::After(pause, Box::new(exchange(&mut state, request))),
        None => exchange(&mut state, request),
    }
}

fn exchange(state: &mut State, request: &Stubbed) -> Answer {
    let form: BTreeMap<String, String> =
        url::form_urlencoded::parse(&request.body).into_owned().collect();
    let text = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if !is_client(request, text("client_id"), text("client_secret")) {
        return refused(401, "invalid_client");
    }
    match text("grant_type") {
        "authorization_code" => match state.codes.remove(text("code")) {
            Some(code) if fits(&code, text("code_verifier"), text("redirect_uri")) => {
                let tokens = tokens(state, true);
                told(state, tokens)
            }
            _ => refused(400, "invalid_grant"),
        },
        "refresh_token" => {
            let shown = text("refresh_token").to_owned();
            match state.refresh.get(&shown).cloned() {
                Some(Refresh::Good) => {
                    let tokens = tokens(state, true);
                    state.refreshed += 1;
                    state.refresh.insert(shown, Refresh::Used(tokens.clone()));
                    told(state, tokens)
                }
                Some(Refresh::Used(again)) if state.grace => told(state, again),
                _ => refused(400, "invalid_grant"),
            }
        }
        "client_credentials" => {
            let tokens = tokens(state, false);
            state.refreshed += 1;
            told(state, tokens)
        }
        _ => refused(400, "unsupported_grant_type"),
    }
}

/// Basic or body.
fn is_client(request: &Stubbed, id: &str, secret: &str) -> bool {
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
    request.header("authorization") == basic || (id == CLIENT_ID && secret == CLIENT_SECRET)
}

fn fits(code: &Code, verifier: &str, redirect: &str) -> bool {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    code.redirect == redirect && code.challenge.as_ref().is_none_or(|kept| *kept == challenge)
}

fn tokens(state: &mut State, with_refresh: bool) -> Value {
    let access = fresh(state, "access");
    state.access.push(access.clone());
    let mut tokens =
        json!({ "access_token": access, "token_type": "Bearer", "scope": "read write" });
    if with_refresh {
        let refresh = fresh(state, "refresh");
        state.refresh.insert(refresh.clone(), Refresh::Good);
        tokens["refresh_token"] = refresh.into();
    }
    tokens
}

fn fresh(state: &mut State, kind: &str) -> String {
    state.fresh += 1;
    let secret = format!("{kind}-token-{:04}-{}", state.fresh, "zyxwvutsrqponmlkjihgfedcba987654");
    state.issued.push(secret.clone());
    secret
}

fn told(state: &State, mut tokens: Value) -> Answer {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    match state.absolute {
        None => tokens["expires_in"] = state.expires_in.into(),
        Some(wrong) => {
            let now = std::time::SystemTime::now() + Duration::from_secs(wrong.unsigned_abs());
            let since = now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
            tokens["expires_at"] = (since + state.expires_in).into();
            headers.push(("date".to_owned(), date(since)));
        }
    }
    Answer::Raw(200, headers, tokens.to_string().into_bytes())
}

/// As HTTP wants it.
fn date(seconds: u64) -> String {
    let at = chrono::DateTime::from_timestamp(seconds.cast_signed(), 0).expect("a time");
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::Json(status, json!({ "error": code, "error_description": "refused by the test" }))
}
