//! GitHub's record of a webhook's deliveries, as its documents say: latest first, in pages, with what was sent.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::{Answer, Stub, Stubbed};

/// The token that may read it.
pub const GITHUB_TOKEN: &str = "ghp_test";
/// The webhook there is a record of.
pub const GITHUB_HOOK: &str = "repos/octocat/hello/hooks/42";
/// The installation of an app that the token opens.
pub const GITHUB_INSTALLATION: i64 = 4711;
const PAGE: usize = 2;

/// A stand-in for GitHub with one webhook.
pub struct Github {
    stub: Stub,
    records: Arc<Mutex<Vec<Value>>>,
}

impl Github {
    /// Starts it, with an empty record.
    pub async fn start() -> Self {
        let records = Arc::<Mutex<Vec<Value>>>::default();
        let state = records.clone();
        let stub =
            Stub::start(move |request| answer(&state.lock().expect("no poisoned lock"), request))
                .await;
        Self { stub, records }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.stub.url()
    }

    /// It has tried to deliver; 0 for nobody having answered.
    pub fn tried(&self, guid: &str, status: u16, delivered_at: &str, payload: &Value) {
        let mut records = self.records.lock().expect("no poisoned lock");
        let id = records.len() + 1;
        records.push(json!({
            "id": id, "guid": guid, "delivered_at": delivered_at, "redelivery": false, "event": "push",
            "status": if status == 202 { "OK" } else { "failed" }, "status_code": status,
            "request": { "headers": { "X-GitHub-Delivery": guid }, "payload": payload },
        }));
    }

    /// How often what was sent has been asked for.
    pub fn fetched(&self) -> usize {
        let requests = self.stub.requests();
        requests.iter().filter(|request| request.path.contains("/deliveries/")).count()
    }
}

fn answer(records: &[Value], request: &Stubbed) -> Answer {
    if request.header("authorization") != format!("Bearer {GITHUB_TOKEN}") {
        return Answer::Json(401, json!({ "message": "Bad credentials" }));
    }
    if request.path == "/user/installations" {
        let first = request.query.contains("page=1");
        let all = if first { json!([{ "id": GITHUB_INSTALLATION }]) } else { json!([]) };
        return Answer::Json(200, json!({ "total_count": 1, "installations": all }));
    }
    let missing = || Answer::Json(404, json!({ "message": "Not Found" }));
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

fn brief(record: &Value) -> Value {
    let mut brief = record.clone();
    if let Some(fields) = brief.as_object_mut() {
        fields.remove("request");
    }
    brief
}
