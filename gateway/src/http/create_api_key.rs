//! `POST /v1/api-keys`

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use servicekit::{
    Actor, Body, Caller, Claims, Created, FieldError, Once, Problem, scope::KeysWrite,
};
use shared_models::ProblemBody;

use super::{Changer, all_right, name};
use crate::{
    App, Error,
    key::NewKey,
    origin::Origin,
    store::{self, api_key::ApiKey},
};

/// A key to be.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApiKey {
    /// What it is for.
    name: String,
    /// What it is limited to, within what the caller may do; absent or null means as far as the caller's own
    /// credentials go.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// When it ends; absent or null means never.
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

/// A new key. `secret` is shown this once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct CreatedApiKey {
    #[serde(flatten)]
    key: ApiKey,
    /// The key itself, for `Authorization: Bearer`. Null when the answer to an Idempotency-Key is repeated.
    secret: Option<String>,
}

/// Make an API key that acts as the caller.
///
/// The answer is the only place where the key is ever shown: it is stored as a hash.
#[utoipa::path(post, path = "/v1/api-keys", tag = "identity", request_body = NewApiKey,
    params(("Idempotency-Key" = Option<String>, Header)), security(("token" = ["keys:write"])),
    responses((status = 201, body = CreatedApiKey), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_api_key(
    State(app): State<App>,
    caller: Caller<KeysWrite>,
    origin: Origin,
    mut once: Once,
    Body(new): Body<NewApiKey>,
) -> Result<Response, Problem> {
    let me = caller.person()?;
    let claims = app.verifier.verify(caller.token()).await?;
    let called = new.check(&claims)?;
    let made = NewKey::generate();

    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(answer) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(answer);
    }
    let scopes = new.scopes(&mut tx, &caller, &claims).await?;
    let whose = (caller.tenant, me);
    let key =
        store::api_key::insert(&mut tx, whose, &called, &made, scopes.as_deref(), new.expires_at)
            .await?;
    let detail = json!({ "prefix": key.prefix, "scopes": key.scopes });
    let changer = Changer::new(&caller, origin);
    store::audit::append(&mut tx, caller.tenant, changer.by(), "api_key.created", key.id, &detail)
        .await?;
    let mut created = CreatedApiKey { key, secret: None };
    once.remember(&mut tx, StatusCode::CREATED, &created).await?;
    tx.commit().await?;
    created.secret = Some(made.secret.expose_secret().to_owned());
    Ok(Created(created).into_response())
}

impl NewApiKey {
    /// A key never goes further than the credentials it is made with.
    fn check(&self, claims: &Claims) -> Result<String, Error> {
        let mut errors = Vec::new();
        let called = name("/name", &self.name, &mut errors);
        for (n, scope) in self.scopes.iter().flatten().enumerate() {
            if !claims.scopes.contains(scope) {
                let message = format!("`{scope}` is not among the caller's scopes");
                errors.push(FieldError::new(format!("/scopes/{n}"), message));
            }
        }
        all_right(errors)?;
        Ok(called)
    }

    /// The limits it is stored with: none only when the caller's own credentials have none.
    async fn scopes(
        &self,
        tx: &mut TenantTx,
        caller: &Caller<KeysWrite>,
        claims: &Claims,
    ) -> Result<Option<Vec<String>>, Error> {
        if let Some(scopes) = &self.scopes {
            let mut scopes = scopes.clone();
            scopes.sort_unstable();
            scopes.dedup();
            return Ok(Some(scopes));
        }
        match caller.actor {
            Actor::User { key: Some(key), .. } => {
                let unlimited = store::api_key::is_unlimited(tx, key).await?;
                Ok((!unlimited).then(|| claims.scopes.clone()))
            }
            _ => Ok(Some(claims.scopes.clone())),
        }
    }
}
