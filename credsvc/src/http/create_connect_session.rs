//! `POST /v1/connect_sessions`, and looking at one.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::{
    Body, Caller, Created, FieldError, Path, Problem,
    scope::{CredentialsRead, CredentialsWrite},
};
use shared_models::{
    ConnectSessionId, CredentialId, ProblemBody, ProviderConfigId, UserId, wire_time,
};
use url::Url;

use super::{
    Person, all_right, check_hosts, check_meta, check_name,
    create_credential::{Said, made_up_name, owner},
};
use crate::{
    App, Error,
    oauth::connect,
    store::{
        self,
        connect_session::ConnectSession,
        credential::{Credential, Environment},
        provider_config::ProviderConfig,
    },
    types::Auth,
};

/// An account to be connected.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConnectSession {
    /// By which OAuth client. May be left out to connect a credential again.
    #[serde(default)]
    oauth_client_id: Option<ProviderConfigId>,
    /// The credential to be connected again.
    #[serde(default)]
    credential_id: Option<CredentialId>,
    /// Whose the credential will be: absent means the caller's, null means the tenant's (administrators only).
    #[serde(default)]
    #[schema(value_type = Option<UserId>, required = false)]
    user_id: Said,
    /// The type of the credential; the provider's usual one when absent.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// Its name; made up when absent.
    #[serde(default)]
    name: Option<String>,
    /// `production` when absent.
    #[serde(default)]
    environment: Option<Environment>,
    /// Free keys and values, such as your own id of the end user who will connect.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    meta: Map<String, Value>,
    /// What to ask the provider for.
    #[serde(default)]
    #[schema(required = false)]
    scopes: Vec<String>,
    /// The only hosts that the credential may be sent to; any when empty.
    #[serde(default)]
    #[schema(required = false)]
    allowed_hosts: Vec<String>,
    /// Where the person goes in the end; `status` (`connected` or `failed`) and `credential_id` are added to it.
    #[serde(default)]
    return_url: Option<String>,
    /// How long the link is good: 60 to 86400, 900 unless said.
    #[serde(default)]
    expires_in: Option<u32>,
}

/// A link to give to whoever shall connect their account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ConnectLink {
    connect_session_id: ConnectSessionId,
    /// Shown only now. Good once, for whoever has it.
    url: String,
    #[serde(serialize_with = "wire_time::time")]
    expires_at: DateTime<Utc>,
}

/// How far it has come.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ConnectSessionView {
    connect_session_id: ConnectSessionId,
    oauth_client_id: ProviderConfigId,
    /// `pending`, `opened`, `exchanging`, `connected`, `failed` or `expired`.
    status: String,
    /// Why it failed, in a word.
    reason: Option<String>,
    /// What was connected.
    credential_id: Option<CredentialId>,
    #[serde(serialize_with = "wire_time::time")]
    expires_at: DateTime<Utc>,
}

/// Begin to connect an account.
///
/// Gives a link by which one of your own end users connects an account of theirs at the provider: no account here is
/// needed. Takes no `Idempotency-Key`: the link is shown once and not kept.
#[utoipa::path(post, path = "/v1/connect_sessions", tag = "connections",
    request_body = NewConnectSession, security(("token" = ["credentials:write"])),
    responses((status = 201, body = ConnectLink), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_connect_session(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    Body(new): Body<NewConnectSession>,
) -> Result<Response, Problem> {
    new.check()?;
    let (creator, user) = owner(&caller, new.user_id.or_own(new.credential_id.is_some()))?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let again = match new.credential_id {
        Some(id) => {
            let found = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
            Person::of(&caller)?.check_may_change(&found)?;
            Some(found)
        }
        None => None,
    };
    let config = new.oauth_client_id.or(again.as_ref().and_then(|c| c.provider_config_id));
    let config = config.ok_or_else(|| Error::field("/oauth_client_id", "must be said"))?;
    let config = store::provider_config::find(&mut tx, config)
        .await?
        .ok_or_else(|| Error::NoConfig(config.to_string()))?;
    let kind = kind(&app, &new, again.as_ref(), &config)?;
    let secret = connect::secret().map_err(Error::from)?;
    let session = new.session(creator, user, again, &config, kind, &secret, caller.tenant);
    let life = f64::from(new.expires_in.unwrap_or(connect::USUAL_LIFE));
    let expires_at = store::connect_session::insert(&mut tx, &session, life).await?;
    tx.commit().await?;
    let path = format!("/v1/connect/{}", connect::link(session.id, &secret));
    let url = app.public_url.join(&path).map_err(anyhow::Error::from).map_err(Error::from)?;
    let link = ConnectLink { connect_session_id: session.id, url: url.into(), expires_at };
    Ok(Created(link).into_response())
}

/// See how far connecting an account has come.
#[utoipa::path(get, path = "/v1/connect_sessions/{connect_session_id}", tag = "connections",
    params(("connect_session_id" = ConnectSessionId, Path)),
    security(("token" = ["credentials:read"])),
    responses((status = 200, body = ConnectSessionView), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_connect_session(
    State(app): State<App>,
    caller: Caller<CredentialsRead>,
    Path(id): Path<ConnectSessionId>,
) -> Result<Json<ConnectSessionView>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::connect_session::find(&mut tx, id).await?;
    let mine = |s: &ConnectSession| caller.is_admin() || caller.user() == Some(s.created_by);
    let found = found.filter(mine).ok_or(Error::NoSession)?;
    let over = !found.live && matches!(found.status.as_str(), "pending" | "opened");
    Ok(Json(ConnectSessionView {
        connect_session_id: found.id,
        oauth_client_id: found.provider_config_id,
        status: if over { "expired".into() } else { found.status },
        reason: found.reason,
        credential_id: found.credential_id,
        expires_at: found.expires_at,
    }))
}

/// What the credential's type will be: an OAuth type of the client's provider.
fn kind(
    app: &App,
    new: &NewConnectSession,
    again: Option<&Credential>,
    config: &ProviderConfig,
) -> Result<String, Error> {
    let fits = |name: &str| {
        app.types.get(name).is_some_and(|kind| {
            kind.definition.auth == Auth::Oauth2
                && kind.definition.provider.as_deref() == Some(config.provider.as_str())
        })
    };
    if let Some(again) = again {
        let why = "the credential is not a connection of this client's provider";
        return if fits(&again.kind) {
            Ok(again.kind.clone())
        } else {
            Err(Error::field("/credential_id", why))
        };
    }
    if let Some(kind) = &new.kind {
        let why = format!("is not an OAuth type of the provider {}", config.provider);
        return if fits(kind) { Ok(kind.clone()) } else { Err(Error::field("/type", why)) };
    }
    let usual = format!("{}_oauth2", config.provider);
    Ok(if fits(&usual) { usual } else { "oauth2".into() })
}

impl NewConnectSession {
    fn check(&self) -> Result<(), Error> {
        let mut errors = Vec::new();
        if let Some(name) = &self.name {
            check_name(name, &mut errors);
        }
        check_meta(&self.meta, &mut errors);
        check_hosts(&self.allowed_hosts, &mut errors);
        let odd = |scope: &String| {
            scope.is_empty() || scope.len() > 200 || scope.contains([' ', ',', '\0'])
        };
        if self.scopes.len() > 100 || self.scopes.iter().any(odd) {
            let why = "at most 100, each 1 to 200 characters without spaces and commas";
            errors.push(FieldError::new("/scopes", why));
        }
        if let Some(url) = &self.return_url {
            let parsed: Option<Url> = url.parse().ok();
            if !parsed.is_some_and(|url| matches!(url.scheme(), "https" | "http")) {
                errors.push(FieldError::new("/return_url", "must be an http or https URL"));
            }
        }
        if self.expires_in.is_some_and(|life| !(60..=connect::LONGEST_LIFE).contains(&life)) {
            errors.push(FieldError::new("/expires_in", "60 to 86400"));
        }
        all_right(errors)
    }

    #[allow(clippy::too_many_arguments, reason = "each is known by somebody else")]
    fn session(
        &self,
        created_by: UserId,
        user: Option<UserId>,
        again: Option<Credential>,
        config: &ProviderConfig,
        kind: String,
        secret: &str,
        tenant: shared_models::TenantId,
    ) -> ConnectSession {
        let id = ConnectSessionId::mint();
        let made_up = || made_up_name(&kind, id.uuid().into());
        let before = again.as_ref();
        ConnectSession {
            id,
            tenant_id: tenant,
            provider_config_id: config.id,
            credential_id: self.credential_id,
            user_id: before.map_or(user, |credential| credential.user_id),
            name: self.name.clone().or(before.map(|c| c.name.clone())).unwrap_or_else(made_up),
            environment: self.environment.unwrap_or(Environment::Production),
            meta: Value::Object(self.meta.clone()),
            scopes: if self.scopes.is_empty() {
                before.map(|c| c.scopes.clone()).unwrap_or_default()
            } else {
                self.scopes.clone()
            },
            allowed_hosts: self.allowed_hosts.clone(),
            return_url: self.return_url.clone(),
            link_hash: connect::hash(&connect::link(id, secret)),
            state_hash: None,
            browser_hash: None,
            status: "pending".into(),
            reason: None,
            created_by,
            created_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH,
            live: true,
            kind,
        }
    }
}
