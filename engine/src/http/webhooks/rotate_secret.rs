//! `POST /v1/webhook-endpoints/{endpoint_id}/rotate-secret`

use axum::{Json, extract::State};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use servicekit::{Body, Caller, FieldError, IfMatch, Path, scope::SettingsWrite};
use shared_models::{CredentialId, ProblemBody, WebhookEndpointId, wire_time};
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::store::webhook_endpoint;
use crate::webhooks::{check_secret, make_secret};

const DAY: u32 = 24 * 60 * 60;
const LONGEST: u32 = 30 * DAY;

/// How a secret is replaced.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// The new secret; without it one is made.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
    /// For how long the old one signs as well: 0 to 2592000, a day unless said.
    #[serde(default)]
    overlap_seconds: Option<u32>,
}

/// A secret that was replaced.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Rotated {
    /// The new secret: shown now and never again.
    secret: String,
    /// Until when the old one signs as well.
    #[serde(serialize_with = "wire_time::time")]
    previous_secret_until: DateTime<Utc>,
    /// The endpoint's version now.
    version: i32,
}

/// Replace an endpoint's secret.
///
/// Messages are signed with the new one at once, and beside it with the old one for as long as is said: each carries both
/// signatures, so that the receiver can change over without losing one. Another process signs with the old one alone for a
/// minute at most.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{endpoint_id}/rotate-secret", tag = "webhooks",
    security(("token" = ["settings:write"])), request_body = Rotation,
    params(("endpoint_id" = WebhookEndpointId, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Rotated), (status = "default", body = ProblemBody)))]
pub(crate) async fn rotate_webhook_secret(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path(id): Path<WebhookEndpointId>,
    if_match: IfMatch,
    Body(rotation): Body<Rotation>,
) -> Result<Json<Rotated>, Error> {
    let owner = caller.person()?;
    caller.require_admin()?;
    let (secret, overlap) = rotation.checked()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = webhook_endpoint::find(&mut tx, id).await?;
    if_match.check(row.version)?;
    let now = webhook_endpoint::now(&mut tx).await?;
    // No network call inside a transaction: look, ask, then look again.
    drop(tx);
    let secrets = &app.webhooks.secrets;
    let present = secrets.of(caller.tenant, id, row.owner_id, row.credential_id).await;
    let present = present.map_err(|error| Error::CredentialRefused(error.to_string()))?;
    let until = now + overlap;
    let fields = json!({
        "secret": secret.expose_secret(),
        "previous_secret": present.secret.expose_secret(),
        "previous_until": until.to_rfc3339_opts(SecondsFormat::Millis, true),
    });
    let by = (caller.token(), owner);
    let credential = app.credsvc.keep_for_webhook(caller.tenant, by, id, &fields).await?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let again = webhook_endpoint::find_for_update(&mut tx, id).await?;
    if again.credential_id != row.credential_id {
        drop(tx);
        let_go(&app, &caller, credential).await;
        return Err(Error::VersionChanged);
    }
    let rotated = webhook_endpoint::rotate(&mut tx, id, (owner, credential), until).await?;
    tx.commit().await?;
    let_go(&app, &caller, row.credential_id).await;
    let secret = secret.expose_secret().to_owned();
    Ok(Json(Rotated { secret, previous_secret_until: until, version: rotated.version }))
}

impl Rotation {
    fn checked(self) -> Result<(SecretString, TimeDelta), Error> {
        let refuse = |field: &str, why: String| Error::Invalid(vec![FieldError::new(field, why)]);
        let secret = self.secret.unwrap_or_else(make_secret);
        check_secret(&secret).map_err(|why| refuse("/secret", why.to_string()))?;
        match self.overlap_seconds.unwrap_or(DAY) {
            seconds if seconds <= LONGEST => Ok((secret, TimeDelta::seconds(seconds.into()))),
            _ => Err(refuse("/overlap_seconds", "must be between 0 and 2592000".into())),
        }
    }
}

/// Deletes a credential that nothing is signed with any more. What stays behind signs nothing either, so failing is no error.
pub(super) async fn let_go(app: &App, caller: &Caller<SettingsWrite>, credential: CredentialId) {
    let gone = app.credsvc.drop_for_webhook(caller.tenant, caller.token(), credential).await;
    if let Err(error) = gone {
        tracing::warn!(%error, credential.id = %credential, "a signing secret of webhooks stays in the vault");
    }
}
