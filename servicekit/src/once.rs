//! `Idempotency-Key` in handlers: begin, work, remember, commit.

use axum::{
    Json,
    extract::{FromRequestParts, MatchedPath},
    http::{HeaderValue, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use dbutil::{
    SystemTx, TenantTx,
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
        Ok(self.look_up(tx, caller, body).await?.map(replayed))
    }

    /// The same for work that is no tenant's, such as the platform's own: the key is the caller's still.
    pub async fn begin_across<S, B: Serialize>(
        &mut self,
        tx: &mut SystemTx,
        caller: &Caller<S>,
        body: &B,
    ) -> Result<Option<Response>, Problem> {
        self.hold(caller, body)?;
        let Some(key) = self.stored_key() else { return Ok(None) };
        let known = idempotency::begin_across(tx, caller.tenant, &key).await?;
        Ok(told(known)?.map(replayed))
    }

    async fn look_up<S, B: Serialize>(
        &mut self,
        tx: &mut TenantTx,
        caller: &Caller<S>,
        body: &B,
    ) -> Result<Option<(StatusCode, serde_json::Value)>, Problem> {
        self.hold(caller, body)?;
        let Some(key) = self.stored_key() else { return Ok(None) };
        told(idempotency::begin(tx, &key).await?)
    }

    /// Notes whose request this is, and what it asks.
    fn hold<S, B: Serialize>(&mut self, caller: &Caller<S>, body: &B) -> Result<(), Problem> {
        if self.key.is_none() {
            return Ok(());
        }
        let text = serde_json::to_vec(body).map_err(Problem::internal)?;
        // What a service asks for one person is another request than the same for another.
        let principal = match caller.subject() {
            Some(subject) => format!("{} for {}", caller.principal(), subject.user()),
            None => caller.principal(),
        };
        self.held = Some((principal, Sha256::digest(&text).into()));
        Ok(())
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
        let Some(key) = self.stored_key() else { return Ok(()) };
        let answer = serde_json::to_value(answer).map_err(Problem::internal)?;
        Ok(idempotency::remember(tx, &key, status.as_u16(), &answer).await?)
    }

    /// The same after [`Once::begin_across`].
    pub async fn remember_across<S, T: Serialize>(
        &self,
        tx: &mut SystemTx,
        caller: &Caller<S>,
        status: StatusCode,
        answer: &T,
    ) -> Result<(), Problem> {
        let Some(key) = self.stored_key() else { return Ok(()) };
        let answer = serde_json::to_value(answer).map_err(Problem::internal)?;
        let answer = (status.as_u16(), &answer);
        Ok(idempotency::remember_across(tx, caller.tenant, &key, answer).await?)
    }

    /// None when the request has no key.
    fn stored_key(&self) -> Option<Key<'_>> {
        let (key, (principal, body_hash)) = (self.key.as_deref()?, self.held.as_ref()?);
        Some(Key { principal, route: &self.route, key, body_hash: *body_hash })
    }
}

fn replayed((status, answer): (StatusCode, serde_json::Value)) -> Response {
    (status, [("idempotency-replayed", "true")], Json(answer)).into_response()
}

fn told(known: Known) -> Result<Option<(StatusCode, serde_json::Value)>, Problem> {
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
