//! `GET /v1/credential-audit`

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery};
use serde::{Deserialize, Serialize};
use servicekit::{Caller, FieldError, Params, Problem, scope::AuditRead};
use shared_models::{CredentialId, ProblemBody, RunId, UserId, wire_time};
use uuid::Uuid;

use super::{all_right, check_note, is_one};
use crate::{
    App,
    audit::{Action, Row},
    store::{self, audit::Filter},
};

/// What the list is narrowed to.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAudit {
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
    /// About this credential.
    credential: Option<CredentialId>,
    /// By this user (also through a service), or by this service (`svc:engine`).
    actor: Option<String>,
    /// `create`, `read`, `resolve`, `update`, `delete`, `restore`, `grant`, `revoke`, `test`, `connect`, `refresh`, `disconnect`,
    /// `call`, `configure` or `rotate`.
    action: Option<String>,
    /// Not before this time.
    from: Option<DateTime<Utc>>,
    /// Before this time.
    until: Option<DateTime<Utc>>,
}

/// Something that was done, or refused.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct AuditEntry {
    /// Its place in the tenant's chain.
    sequence: i64,
    #[serde(serialize_with = "wire_time::time")]
    occurred_at: DateTime<Utc>,
    /// A user's id or `svc:<service>`.
    actor: String,
    /// The person a service acted for.
    on_behalf_of: Option<UserId>,
    action: String,
    credential_id: Option<CredentialId>,
    /// The agent or trigger it was for.
    grantee: Option<String>,
    run_id: Option<RunId>,
    purpose: Option<String>,
    /// Where the secret was to be sent.
    host: Option<String>,
    /// The address that connected.
    remote: Option<String>,
    request_id: Option<String>,
    /// `ok`, `refused` or `failed`.
    outcome: String,
    reason: Option<String>,
    /// Hex; covers this entry and the one before it.
    hash: String,
}

/// List who did what to credentials.
///
/// For administrators; newest first. Masked reads, lists and refused attempts are in it too.
#[utoipa::path(get, path = "/v1/credential-audit", tag = "credentials", params(ListAudit),
    security(("token" = ["audit:read"])),
    responses((status = 200, body = Page<AuditEntry>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_audit(
    State(app): State<App>,
    caller: Caller<AuditRead>,
    Params(asked): Params<ListAudit>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    caller.require_admin()?;
    let (filter, page) = asked.parse()?;
    let (limit, before) = (page.limit(), page.after()?.map(|cursor| sequence(&cursor)));
    let mut tx = app.db.begin(caller.tenant).await?;
    let rows = store::audit::list_page(&mut tx, &filter, before, limit).await?;
    Ok(Json(Page::new(rows, limit, position).map(AuditEntry::from)))
}

impl ListAudit {
    fn parse(self) -> Result<(Filter, PageQuery), Problem> {
        let mut errors = Vec::new();
        for (name, text) in [("actor", &self.actor), ("action", &self.action)] {
            if let Some(text) = text {
                check_note(name, text, &mut errors);
            }
        }
        if self.action.as_deref().is_some_and(|action| !is_one::<Action>(action)) {
            errors.push(FieldError::new("action", "is nothing that the audit tells of"));
        }
        all_right(errors)?;
        let filter = Filter {
            credential: self.credential,
            on_behalf_of: self.actor.as_deref().and_then(|actor| actor.parse().ok()),
            actor: self.actor,
            action: self.action,
            from: self.from,
            until: self.until,
        };
        Ok((filter, PageQuery { limit: self.limit, cursor: self.cursor }))
    }
}

/// The chain's order is its sequence; the cursor carries it in place of an id.
fn position(row: &Row) -> Cursor {
    Cursor { at: row.occurred_at, id: Uuid::from_u128(row.seq as u128) }
}

fn sequence(cursor: &Cursor) -> i64 {
    i64::try_from(cursor.id.as_u128()).unwrap_or(i64::MAX)
}

impl From<Row> for AuditEntry {
    fn from(row: Row) -> Self {
        Self {
            sequence: row.seq,
            occurred_at: row.occurred_at,
            actor: row.actor,
            on_behalf_of: row.on_behalf_of,
            action: row.action,
            credential_id: row.credential_id,
            grantee: row.grantee,
            run_id: row.run_id,
            purpose: row.purpose,
            host: row.host,
            remote: row.remote,
            request_id: row.request_id,
            outcome: row.outcome,
            reason: row.reason,
            hash: hex::encode(row.hash),
        }
    }
}
