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
use shared_models::{ProblemBody, UserId};

use super::{Changer, all_right, check_may_change, name};
use crate::{
    App, Error,
    identity::scopes_of,
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
    /// Whom it acts as: the caller when absent or null, another member when an administrator says so.
    #[serde(default)]
    user_id: Option<UserId>,
    /// What it is limited to, within what the caller and whom it acts as may do; absent or null means as far as that
    /// goes.
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

/// Make an API key that acts as the caller, or as a member of the administrator's tenant.
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
    let user = new.user_id.unwrap_or(caller.person()?);
    let claims = app.verifier.verify(caller.token()).await?;
    let made = NewKey::generate();

    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(answer) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(answer);
    }
    // Whoever is being removed at this moment gets no key that would be good again should they come back.
    store::tenant::hold(&mut tx).await?;
    let most = most(&mut tx, &caller, &claims, user).await?;
    let called = new.check(&most)?;
    let scopes = new.scopes(&mut tx, &caller, most).await?;
    let whose = (caller.tenant, user);
    let key =
        store::api_key::insert(&mut tx, whose, &called, &made, scopes.as_deref(), new.expires_at)
            .await?;
    let detail = json!({ "user_id": user, "prefix": key.prefix, "scopes": key.scopes });
    let changer = Changer::new(&caller, origin);
    store::audit::append(&mut tx, caller.tenant, changer.by(), "api_key.created", key.id, &detail)
        .await?;
    let mut created = CreatedApiKey { key, secret: None };
    once.remember(&mut tx, StatusCode::CREATED, &created).await?;
    tx.commit().await?;
    created.secret = Some(made.secret.expose_secret().to_owned());
    Ok(Created(created).into_response())
}

/// What a key for `user` may allow at most. It never goes further than the credentials it is made with, nor than the
/// member's role, and running the platform is nobody's to give away.
async fn most(
    tx: &mut TenantTx,
    caller: &Caller<KeysWrite>,
    claims: &Claims,
    user: UserId,
) -> Result<Vec<String>, Error> {
    if caller.user() != Some(user) && !caller.is_admin() {
        return Err(Error::AdminsOnly);
    }
    let member = store::membership::find(tx, user).await?;
    let member = member.ok_or_else(|| Error::field("/user_id", "is no member of the tenant"))?;
    if caller.user() == Some(user) {
        return Ok(claims.scopes.clone());
    }
    check_may_change(caller, member.role, member.role)?;
    if member.can_view_payloads && !caller.payloads {
        return Err(Error::ContentHidden);
    }
    let mut scopes = scopes_of(member.role, false);
    scopes.retain(|scope| claims.scopes.contains(scope));
    Ok(scopes)
}

impl NewApiKey {
    fn check(&self, most: &[String]) -> Result<String, Error> {
        let mut errors = Vec::new();
        let called = name("/name", &self.name, &mut errors);
        for (n, scope) in self.scopes.iter().flatten().enumerate() {
            if !most.contains(scope) {
                let message = format!("`{scope}` is more than the caller can give this user's key");
                errors.push(FieldError::new(format!("/scopes/{n}"), message));
            }
        }
        all_right(errors)?;
        Ok(called)
    }

    /// The limits it is stored with: none only when it acts as the caller, whose own credentials have none.
    async fn scopes(
        &self,
        tx: &mut TenantTx,
        caller: &Caller<KeysWrite>,
        most: Vec<String>,
    ) -> Result<Option<Vec<String>>, Error> {
        if let Some(scopes) = &self.scopes {
            let mut scopes = scopes.clone();
            scopes.sort_unstable();
            scopes.dedup();
            return Ok(Some(scopes));
        }
        let unlimited = match caller.actor {
            Actor::User { user, key: Some(key) } if self.user_id.unwrap_or(user) == user => {
                store::api_key::is_unlimited(tx, key).await?
            }
            _ => false,
        };
        Ok((!unlimited).then_some(most))
    }
}
