//! `Idempotency-Key` in handlers: begin, work, remember, commit.

use axum::{
    Json,
    extract::{FromRequestParts, MatchedPath},
    http::{HeaderValue, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use dbutil::{
    TenantTx,
    idempotency::{self, Key, Known},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{Caller, FieldError, Problem, codes};

/// The request's `Idempotency-Key`, if it has one. Without one every call does the work anew.
#[derive(Clone, Debug)]
pub struct Once {
    route: String,
    key: Option<String>,
    held: Option<(String, [u8; 32])>,
}

impl<S: Send + Sync> FromRequestParts<S> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The path with its ids, not the route's pattern: the same key on another agent is another request.
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let route = format!("{} {path} {}", parts.method, parts.uri.path());
        let key = match parts.headers.get("idempotency-key") {
            None => None,
            Some(value) => Some(readable(value)?),
        };
        Ok(Self { route, key, held: None })
    }
}

fn readable(value: &HeaderValue) -> Result<String, Problem> {
    match value.to_str() {
        Ok(text) if !text.is_empty() && text.len() <= 255 => Ok(text.to_owned()),
        _ => Err(Problem::validation(vec![FieldError::new(
            "Idempotency-Key",
            "1 to 255 visible characters",
        )])),
    }
}

impl Once {
    /// Whether the request has a key. Without one there is nothing to look up or to remember.
    pub fn is_asked(&self) -> bool {
        self.key.is_some()
    }

    /// Answers a repeated request from the store. `body` is the request's body as it was understood.
    pub async fn begin<S, B: Serialize>(
        &mut self,
        tx: &mut TenantTx,
        caller: &Caller<S>,
        body: &B,
    ) -> Result<Option<Response>, Problem> {
        Ok(self.look_up(tx, caller, body).await?.map(|(status, answer)| {
            (status, [("idempotency-replayed", "true")], Json(answer)).into_response()
        }))
    }

    async fn look_up<S, B: Serialize>(
        &mut self,
        tx: &mut TenantTx,
        caller: &Caller<S>,
        body: &B,
    ) -> Result<Option<(StatusCode, serde_json::Value)>, Problem> {
        let Some(key) = self.key.clone() else { return Ok(None) };
        let text = serde_json::to_vec(body).map_err(Problem::internal)?;
        // What a service asks for one person is another request than the same for another.
        let principal = match caller.subject() {
            Some(subject) => format!("{} for {}", caller.principal(), subject.user()),
            None => caller.principal(),
        };
        let held = (principal, Sha256::digest(&text).into());
        let known = idempotency::begin(tx, &self.stored_key(&key, &held)).await?;
        self.held = Some(held);
        match known {
            Known::Fresh => Ok(None),
            Known::Stored { status, answer } => {
                Ok(Some((StatusCode::from_u16(status).map_err(Problem::internal)?, answer)))
            }
            Known::OtherBody => Err(Problem::new(
                &codes::IDEMPOTENCY_OTHER_BODY,
                "use a new Idempotency-Key for a new request",
            )),
            Known::InFlight => {
                Err(Problem::new(&codes::IDEMPOTENCY_IN_FLIGHT, "the first request has not ended")
                    .retry_after(1))
            }
        }
    }

    /// What a repeated request was answered, as it was stored, for a handler that says it in another form.
    pub async fn answered<S, B: Serialize>(
        &mut self,
        tx: &mut TenantTx,
        caller: &Caller<S>,
        body: &B,
    ) -> Result<Option<serde_json::Value>, Problem> {
        Ok(self.look_up(tx, caller, body).await?.map(|(_, answer)| answer))
    }

    /// Stores the answer in the transaction that did the work.
    pub async fn remember<T: Serialize>(
        &self,
        tx: &mut TenantTx,
        status: StatusCode,
        answer: &T,
    ) -> Result<(), Problem> {
        let (Some(key), Some(held)) = (&self.key, &self.held) else { return Ok(()) };
        let answer = serde_json::to_value(answer).map_err(Problem::internal)?;
        idempotency::remember(tx, &self.stored_key(key, held), status.as_u16(), &answer).await?;
        Ok(())
    }

    fn stored_key<'a>(&'a self, key: &'a str, held: &'a (String, [u8; 32])) -> Key<'a> {
        Key { principal: &held.0, route: &self.route, key, body_hash: held.1 }
    }
}
