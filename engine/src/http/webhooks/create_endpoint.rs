//! `POST /v1/webhook-endpoints`

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use servicekit::{Body, Caller, Created, FieldError, Once, etag, scope::SettingsWrite};
use shared_models::{ProblemBody, WebhookEndpointId};
use utoipa::ToSchema;

use super::fields::{Endpoint, EndpointFields};
use crate::app::App;
use crate::error::Error;
use crate::store::webhook_endpoint;
use crate::webhooks::{check_secret, make_secret};

/// How many endpoints a tenant may have.
const MOST: i64 = 50;

/// A new endpoint.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(from = "Written")]
pub(crate) struct NewEndpoint {
    #[serde(flatten)]
    fields: EndpointFields,
    /// What messages are signed with: `whsec_` and the base64 of 24 to 64 bytes. Without it one is made.
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    event_types: Vec<String>,
    enabled: Option<bool>,
    secret: Option<SecretString>,
}

impl From<Written> for NewEndpoint {
    fn from(new: Written) -> Self {
        let Written { url, description, event_types, enabled, secret } = new;
        let enabled = enabled.unwrap_or(true);
        Self { fields: EndpointFields { url, description, event_types, enabled }, secret }
    }
}

/// What a repeated request is told apart by.
#[derive(Serialize)]
struct Seen<'a> {
    fields: &'a EndpointFields,
    own_secret: bool,
}

/// Add an endpoint that is told of the tenant's runs.
///
/// Messages follow Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp` and `webhook-signature` over a JSON body
/// `{type, timestamp, data}`. An event is sent until a 2xx answer comes, ten times in about three days; it may come more than
/// once, always with the same `webhook-id`. The secret is in this answer and never shown again; a repeated request with the
/// same `Idempotency-Key` is answered without it.
#[utoipa::path(post, path = "/v1/webhook-endpoints", tag = "webhooks",
    request_body(content = NewEndpoint, example = json!({ "url": "https://hooks.example.com/switchyard",
        "event_types": ["run.finished", "run.waiting"], "description": "Our pager." })),
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["settings:write"])),
    responses((status = 201, body = Endpoint), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_webhook_endpoint(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    mut once: Once,
    Body(new): Body<NewEndpoint>,
) -> Result<Response, Error> {
    let owner = caller.person()?;
    caller.require_admin()?;
    new.fields.check(&app)?;
    let secret = new.secret.clone().unwrap_or_else(make_secret);
    check_secret(&secret)
        .map_err(|why| Error::Invalid(vec![FieldError::new("/secret", why.to_string())]))?;
    let seen = Seen { fields: &new.fields, own_secret: new.secret.is_some() };
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &seen).await? {
        return Ok(stored);
    }
    if webhook_endpoint::count(&mut tx).await? >= MOST {
        return Err(Error::WebhookEndpointsFull(MOST));
    }
    // No network call inside a transaction.
    drop(tx);
    let id = WebhookEndpointId::mint();
    let fields = json!({ "secret": secret.expose_secret() });
    let by = (caller.token(), owner);
    let credential = app.credsvc.keep_for_webhook(caller.tenant, by, id, &fields).await?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &seen).await? {
        return Ok(stored);
    }
    let row = webhook_endpoint::insert(&mut tx, id, new.fields.stored(), owner, credential).await?;
    let mut made = Endpoint::from(row);
    once.remember(&mut tx, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    made.secret = Some(secret.expose_secret().to_owned());
    Ok(([(header::ETAG, etag(made.version))], Created(made)).into_response())
}
