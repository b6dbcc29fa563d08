//! The gateway and credsvc, as far as an engine notices.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use servicekit::verifier::KeySet;
use shared_models::{CredentialId, UserId};
use testkit::{Answer, Stub, Stubbed, Trust};

type Credentials = Arc<Mutex<BTreeMap<String, Value>>>;

pub(crate) struct Peers {
    stub: Stub,
    credentials: Credentials,
}

impl Peers {
    pub(crate) async fn start(trust: &Trust) -> Self {
        let keys = serde_json::to_value(KeySet { keys: trust.public() }).unwrap();
        let credentials = Credentials::default();
        let known = credentials.clone();
        let stub = Stub::start(move |request| answer(request, &keys, &known)).await;
        Self { stub, credentials }
    }

    pub(crate) fn url(&self) -> String {
        self.stub.url()
    }

    /// Stores a credential with these fields; anybody may use it.
    pub(crate) fn credential(&self, fields: Value) -> CredentialId {
        let id = CredentialId::mint();
        self.credentials.lock().unwrap().insert(id.to_string(), fields);
        id
    }

    /// What was stored last.
    pub(crate) fn newest(&self) -> CredentialId {
        let known = self.credentials.lock().unwrap();
        known
            .keys()
            .filter_map(|id| id.parse().ok())
            .max_by_key(|id: &CredentialId| id.uuid())
            .unwrap()
    }

    /// From now on there is no such credential.
    pub(crate) fn forget(&self, id: CredentialId) {
        self.credentials.lock().unwrap().remove(&id.to_string());
    }

    /// The next question for a credential finds credsvc restarting.
    pub(crate) fn interrupt(&self, id: CredentialId) {
        self.credentials.lock().unwrap().insert(interrupted(&id.to_string()), Value::Null);
    }

    /// Its fields are these from now on.
    pub(crate) fn set(&self, id: CredentialId, fields: Value) {
        self.credentials.lock().unwrap().insert(id.to_string(), fields);
    }

    /// From now on somebody has to connect it again.
    pub(crate) fn break_connection(&self, id: CredentialId) {
        self.credentials.lock().unwrap().insert(broken(&id.to_string()), Value::Null);
    }

    /// The same until the next question for it.
    pub(crate) fn break_once(&self, id: CredentialId) {
        self.credentials.lock().unwrap().insert(broken(&id.to_string()), json!("once"));
    }

    /// Somebody has.
    pub(crate) fn connect(&self, id: CredentialId) {
        self.credentials.lock().unwrap().remove(&broken(&id.to_string()));
    }

    /// From now on the person is no member of any tenant.
    pub(crate) fn expel(&self, user: UserId) {
        self.credentials.lock().unwrap().insert(user.to_string(), Value::Null);
    }

    /// What has been asked at a path.
    pub(crate) fn requests(&self, path: &str) -> Vec<Stubbed> {
        self.stub.requests().into_iter().filter(|request| request.path == path).collect()
    }
}

fn answer(request: &Stubbed, keys: &Value, credentials: &Credentials) -> Answer {
    let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let fields = |id: &str| credentials.lock().unwrap().get(id).cloned();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["internal", "jwks"]) => Answer::Json(200, keys.clone()),
        ("GET", ["internal", "members", user]) if fields(user).is_some() => refused(),
        ("GET", ["internal", "members", _]) => {
            let member =
                json!({ "role": "owner", "payloads": true, "teams": [], "status": "active" });
            Answer::Json(200, member)
        }
        ("GET", ["internal", "deliveries", _, "payload"]) => {
            Answer::Json(200, json!({ "large": true }))
        }
        ("DELETE", ["internal", "grants", ..]) => Answer::Raw(204, Vec::new(), Vec::new()),
        ("POST", ["internal", "credentials"]) => {
            let id = CredentialId::mint().to_string();
            let stored = request.json()["credentials"].clone();
            credentials.lock().unwrap().insert(id.clone(), stored);
            Answer::Json(201, json!({ "credential_id": id }))
        }
        ("DELETE", ["tenant", _, "credentials", id]) => {
            credentials.lock().unwrap().remove(*id);
            Answer::Raw(204, Vec::new(), Vec::new())
        }
        ("POST", ["internal", "grants"]) => {
            let id = request.json()["credential_id"].as_str().unwrap_or_default().to_owned();
            let granted = json!({ "grant_id": shared_models::GrantId::mint() });
            fields(&id).map_or_else(refused, |_| Answer::Json(201, granted))
        }
        ("POST", ["internal", "credentials", id, "resolve"])
            if credentials.lock().unwrap().remove(&interrupted(id)).is_some() =>
        {
            Answer::Reset
        }
        ("GET", ["internal", "credentials", id, "standing"]) => {
            let health = if fields(&broken(id)).is_some() { "needs_reconnect" } else { "ok" };
            fields(id).map_or_else(refused, |_| {
                Answer::Json(200, json!({ "credential_id": id, "health": health }))
            })
        }
        ("POST", ["internal", "credentials", id, "resolve"]) if fields(&broken(id)).is_some() => {
            if fields(&broken(id)) == Some(json!("once")) {
                credentials.lock().unwrap().remove(&broken(id));
            }
            let code = "credential_needs_reconnect";
            let body = json!({ "type": format!("/errors#{code}"), "code": code,
                "title": "The provider no longer renews the connection.", "status": 409,
                "detail": format!("the connection {id} has to be connected again") });
            Answer::Json(409, body)
        }
        ("POST", ["internal", "credentials", id, "resolve"]) => {
            fields(id).map_or_else(refused, |fields| {
                let body = json!({ "credential_id": id, "version": 1, "type": "generic",
                    "credentials": fields, "ttl_seconds": 60 });
                Answer::Json(200, body)
            })
        }
        _ => refused(),
    }
}

fn broken(id: &str) -> String {
    format!("{id} broken")
}

fn interrupted(id: &str) -> String {
    format!("{id} interrupted")
}

fn refused() -> Answer {
    let body = json!({ "type": "/errors#credential_not_found", "code": "credential_not_found",
        "title": "There is no such credential.", "status": 404, "detail": "" });
    Answer::Json(404, body)
}
