//! `GET /v1/audit`

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, Problem, scope::AuditRead};
use shared_models::ProblemBody;

use crate::{
    App,
    store::{
        self,
        audit::{Entry, Filter},
    },
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    limit: Option<u32>,
    cursor: Option<String>,
    /// Only what this user did.
    actor: Option<String>,
    /// Only this kind of change, such as `member.updated`.
    action: Option<String>,
    /// Only what was done to this id.
    subject: Option<String>,
    /// Only from this time on.
    since: Option<DateTime<Utc>>,
    /// Only before this time.
    until: Option<DateTime<Utc>>,
}

/// List what administrators changed, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "identity", params(AuditQuery),
    security(("token" = ["audit:read"])),
    responses((status = 200, body = Page<Entry>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_audit(
    State(app): State<App>,
    caller: Caller<AuditRead>,
    Params(query): Params<AuditQuery>,
) -> Result<Json<Page<Entry>>, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let filter = Filter {
        actor: query.actor,
        action: query.action,
        subject: query.subject,
        since: query.since,
        until: query.until,
        after: page.after()?,
        limit: page.limit(),
    };
    let mut tx = app.db.begin(caller.tenant).await?;
    let entries = store::audit::list_page(&mut tx, &filter).await?;
    tx.commit().await?;
    Ok(Json(Page::new(entries, page.limit(), Entry::position)))
}
