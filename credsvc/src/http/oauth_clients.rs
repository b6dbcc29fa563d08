//! `/v1/oauth-clients`: the clients that a tenant, or the platform, has registered with providers.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::{
    Body, Caller, Created, FieldError, Once, Path, Problem,
    scope::{CredentialsRead, PlatformAdmin, SettingsWrite},
};
use shared_models::{ProblemBody, ProviderConfigId, wire_time};
use zeroize::Zeroizing;

use super::{all_right, check_name, seen};
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    oauth::provider::Provider,
    origin::Origin,
    store::{
        self,
        provider_config::{NewConfig, ProviderConfig, whose},
    },
};

/// A client as it was registered with its provider.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewClient {
    /// How it is called here.
    name: String,
    /// `google`, `hubspot`, `slack`, `github`, `microsoft` or `generic`.
    provider: String,
    /// What the provider calls it.
    client_id: String,
    /// Sealed, and never shown again.
    #[schema(value_type = String)]
    client_secret: SecretString,
    /// What differs from the provider's usual ways; `generic` needs `authorize_url` and `token_url`.
    #[serde(default = "nothing")]
    #[schema(value_type = Provider, required = false)]
    settings: Value,
    /// For every tenant; takes the scope `platform:admin`.
    #[serde(default)]
    #[schema(required = false)]
    platform: bool,
}

/// What is to change; a secret that is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientEdit {
    client_id: Option<String>,
    #[schema(value_type = Option<String>)]
    client_secret: Option<SecretString>,
    #[schema(value_type = Option<Provider>)]
    settings: Option<Value>,
}

/// A registered client, without its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ClientView {
    oauth_client_id: ProviderConfigId,
    name: String,
    provider: String,
    client_id: String,
    #[schema(value_type = Provider)]
    settings: Value,
    platform: bool,
    /// To be registered with the provider.
    redirect_url: String,
    #[serde(serialize_with = "wire_time::time")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "wire_time::time")]
    updated_at: DateTime<Utc>,
}

/// All that can be used.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ClientList {
    items: Vec<ClientView>,
}

/// The id of a new client.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct StoredClient {
    oauth_client_id: ProviderConfigId,
    /// To be registered with the provider.
    redirect_url: String,
}

/// List OAuth clients.
///
/// The tenant's own and the platform's; never their secrets. There are few, so there are no pages.
#[utoipa::path(get, path = "/v1/oauth-clients", tag = "connections",
    security(("token" = ["credentials:read"])),
    responses((status = 200, body = ClientList), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_clients(
    State(app): State<App>,
    caller: Caller<CredentialsRead>,
) -> Result<Json<ClientList>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::provider_config::list(&mut tx).await?;
    let redirect = app.callback_url().map_err(Error::from)?;
    let items = found.into_iter().map(|config| ClientView::new(config, redirect.as_str()));
    Ok(Json(ClientList { items: items.collect() }))
}

/// Register an OAuth client.
///
/// For administrators. Its `redirect_url` is what the provider must be told.
#[utoipa::path(post, path = "/v1/oauth-clients", tag = "connections",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = NewClient,
    security(("token" = ["settings:write"])),
    responses((status = 201, body = StoredClient), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_client(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    platform: Result<Caller<PlatformAdmin>, Problem>,
    origin: Origin,
    mut once: Once,
    Body(new): Body<NewClient>,
) -> Result<Response, Problem> {
    let by = caller.person()?;
    if new.platform {
        platform?;
    }
    new.check()?;
    let id = ProviderConfigId::mint();
    let secret = new.client_secret.expose_secret();
    let NewClient { name, provider, client_id, settings, platform, .. } = &new;
    let said = format!("{name}\0{provider}\0{client_id}\0{secret}\0{settings}\0{platform}");
    let said = Zeroizing::new(said);
    let seen = seen(&app, caller.tenant, &once, said.as_bytes()).await?;
    let (mut tx, key) = app.keys.begin(caller.tenant).await?;
    let sealed = key.seal(&whose(caller.tenant, id, 1), secret.as_bytes()).map_err(Error::from)?;
    if let Some(stored) = once.begin(&mut tx, &caller, &seen).await? {
        return Ok(stored);
    }
    let row = NewConfig {
        id,
        platform: new.platform,
        name: &new.name,
        provider: &new.provider,
        client_id: &new.client_id,
        settings: &new.settings,
        version: 1,
        sealed: &sealed,
        by,
    };
    store::provider_config::insert(&mut tx, &row).await?;
    let redirect_url = app.callback_url().map_err(Error::from)?.into();
    let stored = StoredClient { oauth_client_id: id, redirect_url };
    once.remember(&mut tx, StatusCode::CREATED, &stored).await?;
    audit::append(&mut tx, configured(&caller, &origin, id)).await?;
    tx.commit().await?;
    Ok(Created(stored).into_response())
}

/// Change an OAuth client.
///
/// For administrators; one of the platform's only in the tenant that registered it, and with the scope `platform:admin`.
/// What is left out stays.
#[utoipa::path(patch, path = "/v1/oauth-clients/{oauth_client_id}", tag = "connections",
    params(("oauth_client_id" = ProviderConfigId, Path)), request_body = ClientEdit,
    security(("token" = ["settings:write"])),
    responses((status = 200, body = ClientView), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_client(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    platform: Result<Caller<PlatformAdmin>, Problem>,
    origin: Origin,
    Path(id): Path<ProviderConfigId>,
    Body(edit): Body<ClientEdit>,
) -> Result<Json<ClientView>, Problem> {
    let by = caller.person()?;
    let current = own(&app, &caller, id).await?;
    if current.platform {
        platform?;
    }
    let secret = match edit.client_secret {
        Some(secret) => secret,
        None => app.keys.client_secret(&current).await?,
    };
    let new = NewClient {
        name: current.name.clone(),
        provider: current.provider.clone(),
        client_id: edit.client_id.unwrap_or_else(|| current.client_id.clone()),
        client_secret: secret,
        settings: edit.settings.unwrap_or_else(|| current.settings.clone()),
        platform: current.platform,
    };
    new.check()?;
    let (mut tx, key) = app.keys.begin(caller.tenant).await?;
    let plain = new.client_secret.expose_secret();
    let next = whose(caller.tenant, id, current.version + 1);
    let sealed = key.seal(&next, plain.as_bytes()).map_err(Error::from)?;
    let row = NewConfig {
        id,
        platform: new.platform,
        name: &new.name,
        provider: &new.provider,
        client_id: &new.client_id,
        settings: &new.settings,
        version: current.version,
        sealed: &sealed,
        by,
    };
    if !store::provider_config::update(&mut tx, &row).await? {
        return Err(Error::Changed.into());
    }
    let changed = store::provider_config::find(&mut tx, id).await?;
    let changed = changed.ok_or_else(|| Error::NoConfig(id.to_string()))?;
    audit::append(&mut tx, configured(&caller, &origin, id)).await?;
    tx.commit().await?;
    let redirect = app.callback_url().map_err(Error::from)?;
    Ok(Json(ClientView::new(changed, redirect.as_str())))
}

/// Remove an OAuth client.
///
/// For administrators. Refused while credentials of the tenant are connected by it.
#[utoipa::path(delete, path = "/v1/oauth-clients/{oauth_client_id}", tag = "connections",
    params(("oauth_client_id" = ProviderConfigId, Path)), security(("token" = ["settings:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_client(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    platform: Result<Caller<PlatformAdmin>, Problem>,
    origin: Origin,
    Path(id): Path<ProviderConfigId>,
) -> Result<StatusCode, Problem> {
    caller.person()?;
    if own(&app, &caller, id).await?.platform {
        platform?;
    }
    let mut tx = app.db.begin(caller.tenant).await?;
    if !store::provider_config::delete(&mut tx, id).await? {
        return Err(Error::NoConfig(id.to_string()).into());
    }
    audit::append(&mut tx, configured(&caller, &origin, id)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One that the tenant registered; another's is not there to be changed.
async fn own(
    app: &App,
    caller: &Caller<SettingsWrite>,
    id: ProviderConfigId,
) -> Result<ProviderConfig, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::provider_config::find(&mut tx, id).await?;
    let found = found.filter(|config| config.tenant_id == caller.tenant);
    found.ok_or_else(|| Error::NoConfig(id.to_string()))
}

fn configured(caller: &Caller<SettingsWrite>, origin: &Origin, id: ProviderConfigId) -> Entry {
    let purpose = format!("oauth client {id}");
    Entry::new(caller, origin, Action::Configure).because(Some(&purpose), None)
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

impl NewClient {
    fn check(&self) -> Result<(), Error> {
        let mut errors = Vec::new();
        check_name(&self.name, &mut errors);
        let secret = self.client_secret.expose_secret();
        for (pointer, text) in [("/client_id", self.client_id.as_str()), ("/client_secret", secret)]
        {
            if text.is_empty() || text.len() > 2000 || text.contains('\0') {
                errors.push(FieldError::new(pointer, "1 to 2000 bytes without NUL"));
            }
        }
        let settings = self.settings.to_string();
        if !self.settings.is_object() || settings.len() > 16 * 1024 || settings.contains("\\u0000")
        {
            errors.push(FieldError::new("/settings", "an object of at most 16 KiB without NUL"));
        } else if !Provider::names().contains(&self.provider) {
            let known = Provider::names().join(", ");
            errors.push(FieldError::new("/provider", format!("must be one of {known}")));
        } else {
            match Provider::of(&self.provider, &self.settings) {
                Ok(provider) => provider.check(&mut errors),
                Err(error) => errors.push(FieldError::new("/settings", format!("{error:#}"))),
            }
        }
        all_right(errors)
    }
}

impl ClientView {
    fn new(config: ProviderConfig, redirect: &str) -> Self {
        Self {
            oauth_client_id: config.id,
            name: config.name,
            provider: config.provider,
            client_id: config.client_id,
            settings: config.settings,
            platform: config.platform,
            redirect_url: redirect.to_owned(),
            created_at: config.created_at,
            updated_at: config.updated_at,
        }
    }
}
