//! Replacing a signing secret while the sender still uses the one before.

use axum::{Json, extract::State};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use servicekit::{Body, Caller, FieldError, Path, Problem, codes, scope};
use shared_models::{CredentialId, ProblemBody, Service, TriggerId, wire_time};
use utoipa::ToSchema;

use super::update_trigger::may_change;
use crate::{
    app::App,
    error::{Error, NOTHING_TO_ROTATE},
    options::{Scheme, WebhookOptions},
    save, secrets,
    store::{self, source, trigger as stored},
    viewer::Viewer,
};

const DAY: u32 = 24 * 60 * 60;
const LONGEST: u32 = 30 * DAY;
const LONGEST_SECRET: usize = 4096;

/// How a secret is replaced.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// The new secret, where the provider makes it; without it one is made.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
    /// For how long the old one is believed as well: 0 to 2592000, a day unless said.
    #[serde(default)]
    overlap_seconds: Option<u32>,
}

/// A secret that was replaced.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Rotated {
    /// The credential that has both.
    credential_id: CredentialId,
    /// The new secret, when it was made here: shown now and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_secret: Option<String>,
    /// Until when the old one is believed.
    #[serde(serialize_with = "wire_time::time")]
    previous_until: DateTime<Utc>,
    /// The trigger's version now.
    version: i32,
}

/// Replace a trigger's signing secret.
///
/// The new one is believed at once, the old one for as long as is said, so that the sender can change over without losing a
/// delivery. The trigger gets a credential of its own with both; one that it shared stays as it is.
#[utoipa::path(post, path = "/v1/triggers/{trigger_id}/rotate-secret", tag = "triggers",
    security(("token" = ["triggers:write"])), params(("trigger_id" = TriggerId, Path)), request_body = Rotation,
    responses((status = 200, body = Rotated), (status = "default", body = ProblemBody)))]
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    Path(id): Path<TriggerId>,
    Body(rotation): Body<Rotation>,
) -> Result<Json<Rotated>, Problem> {
    let overlap = rotation.checked()?;
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = store::trigger::find(&mut tx, &viewer, id).await?;
    tx.commit().await?;
    let row = row.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?;
    may_change(&viewer, &row)?;
    // The vault stores a person's secret only for that person.
    if caller.user() != Some(row.owner_id) {
        return Err(Error::NotOwner.into());
    }
    let old = present(&app, &caller, &row).await?;
    let made = rotation.secret.is_none();
    let secret = rotation.secret.unwrap_or_else(save::make_secret);
    let previous_until = app.clock.now() + overlap;
    let fields = json!({
        "secret": secret.expose_secret(),
        "previous_secret": old.expose_secret(),
        "previous_until": previous_until.to_rfc3339_opts(SecondsFormat::Millis, true),
    });
    let credential = save::keep(&app, &caller, (id, row.owner_id), &fields).await?;
    let version = change_over(&app, &caller, &row, credential).await?;
    Ok(Json(Rotated {
        credential_id: credential,
        signing_secret: made.then(|| secret.expose_secret().to_owned()),
        previous_until,
        version,
    }))
}

impl Rotation {
    fn checked(&self) -> Result<Duration, Problem> {
        let refuse = |field: &str, why: &str| {
            Err(Problem::validation(vec![FieldError::new(format!("/{field}"), why)]))
        };
        let length = self.secret.as_ref().map(|secret| secret.expose_secret().len());
        if length.is_some_and(|length| !(1..=LONGEST_SECRET).contains(&length)) {
            return refuse("secret", "must have 1 to 4096 bytes");
        }
        match self.overlap_seconds.unwrap_or(DAY) {
            seconds if seconds <= LONGEST => Ok(Duration::seconds(seconds.into())),
            _ => refuse("overlap_seconds", "must be between 0 and 2592000"),
        }
    }
}

/// The secret that is in use.
async fn present(
    app: &App,
    caller: &Caller<scope::TriggersWrite>,
    row: &stored::Trigger,
) -> Result<SecretString, Problem> {
    let nothing = |why: &str| Problem::new(&NOTHING_TO_ROTATE, why);
    let Some(credential) = row.credential_id else {
        return Err(nothing("the trigger has no signing secret"));
    };
    let options: WebhookOptions = serde_json::from_value(row.options.clone())
        .map_err(|_| nothing("the trigger receives nothing to verify"))?;
    if options.reconcile.is_some() {
        let why = "its credential also has the token that looks for what was lost: give that credential the new \
                   `secret`, and the old one as `previous_secret`";
        return Err(nothing(why));
    }
    let scheme = options.verify.scheme;
    if matches!(scheme, Scheme::Basic) || !options.needs_secret() {
        let why = format!("a secret of `{scheme}` is changed in its credential");
        return Err(nothing(&why));
    }
    let resolved = app.credsvc.resolve(caller.tenant, row.owner_id, row.trigger_id, credential);
    let resolved = resolved.await.map_err(|error| save::away(Service::Credsvc, error))?;
    let secret = secrets::of_fields(scheme, &resolved);
    Ok(secret.map_err(|_| Error::CredentialUnavailable)?.secret)
}

async fn change_over(
    app: &App,
    caller: &Caller<scope::TriggersWrite>,
    row: &stored::Trigger,
    credential: CredentialId,
) -> Result<i32, Problem> {
    let id = row.trigger_id;
    let mut saved = stored::Saved::of(row);
    saved.credential_id = Some(credential);
    saved.own_credential_id = Some(credential);
    let options_key = save::options_key(&row.options, &row.owner_id.to_string());
    let key = source::Key {
        system: &row.system,
        credential_id: saved.credential_id,
        options: &row.options,
        options_key: &options_key,
    };
    let mut tx = app.db.begin(caller.tenant).await?;
    let source = if source::change(&mut tx, row.source_id, id, &key).await? {
        row.source_id
    } else {
        source::join(&mut tx, &key).await?
    };
    if !store::trigger::update(&mut tx, id, row.version, source, &saved).await? {
        return Err(Problem::new(&codes::CONFLICT, "the trigger was changed at the same moment"));
    }
    let unused = save::unused(&mut tx, row.own_credential_id).await?;
    tx.commit().await?;
    app.hooks.forget();
    if let Some(before) = row.credential_id {
        app.secrets.forget(before, id).await;
    }
    // What it was believed for is in the new one as well.
    if let Some(own) = unused {
        save::discard(app, caller, id, own).await;
    }
    Ok(row.version + 1)
}
