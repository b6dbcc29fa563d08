//! GitHub's record of a webhook's deliveries, as its documents say: latest first, in pages, with what was sent.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::{Answer, Stub, Stubbed};

/// The token that may read it.
pub const GITHUB_TOKEN: &str = "ghp_test";
/// The webhook there is a record of.
pub const GITHUB_HOOK: &str = "repos/octocat/hello/hooks/42";
/// An installation of an app in an organization that the token's person owns.
pub const GITHUB_INSTALLATION: i64 = 4711;
/// An installation in the account of the token's person.
pub const GITHUB_OWN_INSTALLATION: i64 = 4712;
/// A token of somebody who sees both installations and owns neither.
pub const GITHUB_MEMBER_TOKEN: &str = "ghu_member";
const PAGE: usize = 2;

#[derive(Debug, Default)]
struct State {
    records: Vec<Value>,
    /// Answers to give before anything else.
    failing: Vec<u16>,
}

/// A stand-in for GitHub with one webhook.
pub struct Github {
    stub: Stub,
    state: Arc<Mutex<State>>,
}

impl Github {
    /// Starts it, with an empty record.
    pub async fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let stub = Stub::start(move |request| {
            let mut state = shared.lock().expect("no poisoned lock");
            match state.failing.pop().filter(|status| *status != 200) {
                Some(status) => Answer::Json(status, json!({ "message": "no" })),
                None => answer(&state.records, request),
            }
        })
        .await;
        Self { stub, state }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.stub.url()
    }

    /// It has tried to deliver; 0 for nobody having answered.
    pub fn tried(&self, guid: &str, status: u16, delivered_at: &str, payload: &Value) {
        let mut state = self.state.lock().expect("no poisoned lock");
        let id = state.records.len() + 1;
        state.records.push(json!({
            "id": id, "guid": guid, "delivered_at": delivered_at, "redelivery": false, "event": "push",
            "status": if status == 202 { "OK" } else { "failed" }, "status_code": status,
            "request": { "headers": { "X-GitHub-Delivery": guid }, "payload": payload },
        }));
    }

    /// The next requests are answered so; 200 is as usual.
    pub fn fail_with(&self, statuses: &[u16]) {
        let failing = statuses.iter().rev().copied().collect();
        self.state.lock().expect("no poisoned lock").failing = failing;
    }

    /// How often what was sent has been asked for.
    pub fn fetched(&self) -> usize {
        let requests = self.stub.requests();
        requests.iter().filter(|request| request.path.contains("/deliveries/")).count()
    }
}

fn answer(records: &[Value], request: &Stubbed) -> Answer {
    let owner = match request.header("authorization").trim_start_matches("Bearer ") {
        GITHUB_TOKEN => true,
        GITHUB_MEMBER_TOKEN => false,
        _ => return Answer::Json(401, json!({ "message": "Bad credentials" })),
    };
    let missing = || Answer::Json(404, json!({ "message": "Not Found" }));
    match request.path.as_str() {
        "/user" => {
            return Answer::Json(200, json!({ "id": if owner { 7 } else { 8 }, "type": "User" }));
        }
        "/user/installations" => return installations(&request.query),
        "/user/memberships/orgs/octo-org" => {
            let role = if owner { "admin" } else { "member" };
            return Answer::Json(200, json!({ "state": "active", "role": role }));
        }
        _ if !owner => return missing(),
        _ => {}
    }
    let Some(path) = request.path.strip_prefix(&format!("/{GITHUB_HOOK}/deliveries")) else {
        return missing();
    };
    if let Some(id) = path.strip_prefix('/') {
        let id: i64 = id.parse().unwrap_or_default();
        let found = records.iter().find(|record| record["id"] == id);
        return found.map_or_else(missing, |record| Answer::Json(200, record.clone()));
    }
    let mut pairs = url::form_urlencoded::parse(request.query.as_bytes());
    let from = pairs.find(|(name, _)| name == "cursor").and_then(|(_, at)| at.parse().ok());
    let from: usize = from.unwrap_or_default();
    let page: Vec<Value> = records.iter().rev().skip(from).take(PAGE).map(brief).collect();
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    if from + PAGE < records.len() {
        let next = format!("<https://api.github.com/x?cursor={}>; rel=\"next\"", from + PAGE);
        headers.push(("link".to_owned(), next));
    }
    Answer::Raw(200, headers, Value::from(page).to_string().into_bytes())
}

/// What the person sees a repository of.
fn installations(query: &str) -> Answer {
    let organization = json!({ "id": GITHUB_INSTALLATION, "app_id": 1, "target_type": "Organization",
        "account": { "login": "octo-org", "id": 9, "type": "Organization" } });
    let own = json!({ "id": GITHUB_OWN_INSTALLATION, "app_id": 1, "target_type": "User",
        "account": { "login": "octocat", "id": 7, "type": "User" } });
    let page = match query {
        "per_page=100&page=1" => json!([organization]),
        "per_page=100&page=2" => json!([own]),
        _ => json!([]),
    };
    Answer::Json(200, json!({ "total_count": 2, "installations": page }))
}

fn brief(record: &Value) -> Value {
    let mut brief = record.clone();
    if let Some(fields) = brief.as_object_mut() {
        fields.remove("request");
    }
    brief
}
