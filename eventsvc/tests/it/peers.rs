//! Stand-ins for the vault and the engine.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use shared_models::CredentialId;
use testkit::{Answer, Stub, Stubbed};

use crate::harness::{Agents, Vault};

fn problem(status: u16, code: &str) -> Answer {
    let body =
        json!({ "type": format!("/errors#{code}"), "code": code, "title": code, "status": status });
    Answer::Json(status, body)
}

pub(crate) async fn vault_stub(vault: Arc<Mutex<Vault>>) -> Stub {
    Stub::start(move |request| answer_as_vault(&mut vault.lock().unwrap(), request)).await
}

fn answer_as_vault(vault: &mut Vault, request: &Stubbed) -> Answer {
    let body = request.json();
    let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let for_a_person = !request.header("x-subject-token").is_empty();
    match (request.method.as_str(), path.as_slice()) {
        _ if vault.down => problem(503, "unavailable"),
        ("POST", ["internal", "credentials"]) if for_a_person => {
            if body["user_id"] != person_of(request.header("x-subject-token")) {
                return problem(403, "not_allowed");
            }
            if !vault.names.insert(body["name"].as_str().unwrap().to_owned()) {
                return problem(409, "credential_name_taken");
            }
            let id = CredentialId::mint().to_string();
            vault.credentials.insert(id.clone(), body["credentials"].clone());
            Answer::Json(201, json!({ "credential_id": id }))
        }
        ("POST", ["internal", "grants"]) if for_a_person => {
            let credential = body["credential_id"].as_str().unwrap().to_owned();
            if !vault.credentials.contains_key(&credential) {
                return problem(404, "not_found");
            }
            let grantee = body["grantee"]["id"].as_str().unwrap().to_owned();
            vault.grants.insert((grantee, credential));
            Answer::Json(201, json!({ "grant_id": "grt_0" }))
        }
        ("POST", ["internal", "credentials", id, "resolve"]) => {
            let grantee = body["grantee"]["id"].as_str().unwrap().to_owned();
            assert!(
                ["webhook.verify", "listener.look"].iter().any(|known| body["purpose"] == *known)
            );
            if !vault.grants.contains(&(grantee, (*id).to_owned())) {
                return problem(403, "credential_not_granted");
            }
            let fields = vault.credentials[*id].clone();
            Answer::Json(
                200,
                json!({ "credential_id": id, "version": 1, "type": "generic",
                "credentials": fields, "ttl_seconds": 60 }),
            )
        }
        ("DELETE", ["tenant", _, "credentials", id]) if for_a_person => {
            let in_use = vault.grants.iter().any(|(_, credential)| credential == id);
            if in_use && !request.query.contains("force=true") {
                return problem(409, "credential_in_use");
            }
            match vault.credentials.remove(*id) {
                Some(_) => Answer::Raw(204, Vec::new(), Vec::new()),
                None => problem(404, "not_found"),
            }
        }
        ("DELETE", ["internal", "grants", "trigger", id, credential]) => {
            vault.grants.remove(&((*id).to_owned(), (*credential).to_owned()));
            Answer::Raw(204, Vec::new(), Vec::new())
        }
        ("DELETE", ["internal", "grants", "trigger", id]) => {
            vault.grants.retain(|(grantee, _)| grantee != id);
            Answer::Raw(204, Vec::new(), Vec::new())
        }
        _ => problem(404, "not_found"),
    }
}

pub(crate) async fn engine_stub(agents: Arc<Mutex<Agents>>) -> Stub {
    Stub::start(move |request| {
        let agents = agents.lock().unwrap();
        if agents.down {
            return problem(503, "unavailable");
        }
        let id = request.path.rsplit('/').next().unwrap();
        if request.path.starts_with("/internal/runs/") && id == "effects" {
            return Answer::Json(200, json!({ "items": agents.effects, "more": agents.more }));
        }
        if request.path.starts_with("/internal/runs/") {
            let said =
                json!({ "run_id": id, "status": "succeeded", "output": "42", "error": null });
            return Answer::Json(200, said);
        }
        match agents.known.get(id) {
            Some((agent, people))
                if people.contains(&person_of(request.header("x-subject-token"))) =>
            {
                Answer::Json(200, agent.clone())
            }
            _ => problem(404, "not_found"),
        }
    })
    .await
}

/// Whose token it is; the real engine verifies it as well.
fn person_of(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    claims["user"].as_str().unwrap_or_default().to_owned()
}

/// Says whose a token of Stripe's is: `stripe-<account>`.
pub(crate) async fn accounts_stub() -> Stub {
    Stub::start(|request| {
        let token = request.header("authorization").trim_start_matches("Bearer ");
        match (request.path.as_str(), token.split_once('-')) {
            ("/v1/account", Some(("stripe", account))) => {
                Answer::Json(200, json!({ "id": account }))
            }
            _ => problem(401, "unauthenticated"),
        }
    })
    .await
}
