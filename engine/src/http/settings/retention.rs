//! `/v1/settings/retention`

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::{Page, PageQuery};
use serde::Serialize;
use serde_json::Value;
use servicekit::scope::{RunsRead, SettingsWrite};
use servicekit::{Actor, Body, Caller, FieldError, IfMatch, Params, Tagged, merge_patch};
use shared_models::{ProblemBody, UserId};
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::store::retention_setting::{self, Days, RetentionChange, Row};

/// How long things are kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Retention {
    /// What the tenant has said.
    #[serde(flatten)]
    days: Days,
    /// What is done: as the tenant has said, or as the platform does. What is null is kept for good.
    in_force: Days,
    /// Rises with each change; the `ETag`. 0 as long as nobody has said anything.
    version: i32,
    updated_by: Option<UserId>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    updated_at: Option<DateTime<Utc>>,
}

impl Retention {
    fn new(app: &App, row: Row) -> Self {
        let Row { days, version, updated_by, updated_at } = row;
        Self { days, in_force: in_force(app, &days), version, updated_by, updated_at }
    }
}

fn in_force(app: &App, days: &Days) -> Days {
    let runs = days.run_days.unwrap_or(app.runs.days);
    Days {
        content_days: Some(days.content_days.unwrap_or(app.runs.content_days).min(runs)),
        run_days: Some(runs),
        conversation_days: Some(days.conversation_days.unwrap_or(app.runs.conversation_days)),
        memory_days: days.memory_days.or(app.runs.memory_days),
        usage_days: Some(days.usage_days.unwrap_or(app.runs.usage_days)),
        webhook_days: Some(days.webhook_days.unwrap_or(app.webhooks.config.days)),
    }
}

fn check(app: &App, days: &Days) -> Result<(), Error> {
    let mut errors = Vec::new();
    for (field, value, (least, most)) in [
        ("/content_days", days.content_days, (1, 3650)),
        ("/run_days", days.run_days, (1, 3650)),
        ("/conversation_days", days.conversation_days, (1, 3650)),
        ("/memory_days", days.memory_days, (1, 3650)),
        ("/usage_days", days.usage_days, (62, 3650)),
        ("/webhook_days", days.webhook_days, (1, 400)),
    ] {
        if value.is_some_and(|days| !(least..=most).contains(&days)) {
            errors.push(FieldError::new(field, format!("from {least} to {most} days, or null")));
        }
    }
    let runs = days.run_days.unwrap_or(app.runs.days);
    if errors.is_empty() && days.content_days.is_some_and(|content| content > runs) {
        let why = format!("content is not kept longer than its run, which is {runs} days");
        errors.push(FieldError::new("/content_days", why));
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

/// See how long the tenant's runs, conversations and logs are kept.
#[utoipa::path(get, path = "/v1/settings/retention", tag = "settings",
    security(("token" = ["runs:read"])),
    responses((status = 200, body = Retention), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_retention(
    State(app): State<App>,
    caller: Caller<RunsRead>,
) -> Result<Tagged<Retention>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = retention_setting::find(&mut tx).await?;
    Ok(Tagged(row.version, Retention::new(&app, row)))
}

/// Say how long things are kept. For administrators.
///
/// A JSON Merge Patch (RFC 7396): `null` goes back to what the platform does. What is kept too long by the new term goes with
/// the next sweep, within minutes, and does not come back. A run that has not ended, is in doubt about a call, or has a fork
/// that refers to it keeps its content whatever is said here. Every change is written down.
#[utoipa::path(patch, path = "/v1/settings/retention", tag = "settings",
    params(("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json",
        example = json!({ "content_days": 7, "run_days": 90, "webhook_days": null })),
    security(("token" = ["settings:write"])),
    responses((status = 200, body = Retention), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_retention(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Retention>, Error> {
    let by = caller.person()?;
    caller.require_admin()?;
    let key = match &caller.actor {
        Actor::User { key, .. } => *key,
        Actor::Service { .. } => None,
    };
    let mut tx = app.db.begin(caller.tenant).await?;
    let before = retention_setting::find_for_update(&mut tx).await?;
    if_match.check(before.version)?;
    let after: Days = merge_patch(&before.days, &patch)?;
    if after == before.days {
        return Ok(Tagged(before.version, Retention::new(&app, before)));
    }
    check(&app, &after)?;
    let row = retention_setting::update(&mut tx, &before, &after, (by, key)).await?;
    tx.commit().await?;
    Ok(Tagged(row.version, Retention::new(&app, row)))
}

/// See who has changed how long things are kept, newest first. For administrators.
#[utoipa::path(get, path = "/v1/settings/retention/changes", tag = "settings", params(PageQuery),
    security(("token" = ["settings:write"])),
    responses((status = 200, body = Page<RetentionChange>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_retention_changes(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<RetentionChange>>, Error> {
    caller.require_admin()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    Ok(Json(retention_setting::changes(&mut tx, &page).await?))
}
