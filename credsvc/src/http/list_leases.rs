//! `GET /v1/credentials/{credential_id}/leases`

use axum::{Json, extract::State};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use servicekit::{Caller, Path, Problem, scope::CredentialsWrite};
use shared_models::{CredentialId, ProblemBody, RunId, wire_time};

use super::Person;
use crate::{
    App, Error,
    store::{self, lease::Lease},
};

/// The most that are shown.
const MOST: i64 = 1_000;

/// Who may have the secret in memory now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Leases {
    /// The newest thousand.
    items: Vec<LeaseView>,
}

/// A secret lent to a service for a short while.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Lease)]
pub(crate) struct LeaseView {
    /// Its entry in the audit.
    sequence: i64,
    /// The service that has it.
    holder: String,
    /// The agent, trigger, model or webhook endpoint it is for.
    grantee: Option<String>,
    run_id: Option<RunId>,
    purpose: Option<String>,
    /// Where it is to be sent.
    host: Option<String>,
    #[serde(serialize_with = "wire_time::time")]
    granted_at: DateTime<Utc>,
    /// It may be kept until then at most.
    #[serde(serialize_with = "wire_time::time")]
    expires_at: DateTime<Utc>,
}

/// See who may have a credential's secret in memory now.
///
/// A lease ends by itself after `SWITCHYARD_SECRET_TTL_SECONDS`, and at once when the credential is changed, revoked,
/// deleted or connected again. For whoever may change the credential.
#[utoipa::path(get, path = "/v1/credentials/{credential_id}/leases", tag = "credentials",
    params(("credential_id" = CredentialId, Path)), security(("token" = ["credentials:write"])),
    responses((status = 200, body = Leases), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_leases(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    Path(id): Path<CredentialId>,
) -> Result<Json<Leases>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
    Person::of(&caller)?.check_may_change(&found)?;
    let leases = store::lease::list(&mut tx, id, app.lease_seconds, MOST).await?;
    let longest = TimeDelta::seconds(app.lease_seconds.into());
    let ends = [found.expires_at, found.token_expires_at].into_iter().flatten().min();
    let view = |lease: Lease| {
        let until = lease.at + longest;
        LeaseView {
            sequence: lease.seq,
            holder: lease.actor,
            grantee: lease.grantee,
            run_id: lease.run,
            purpose: lease.purpose,
            host: lease.host,
            granted_at: lease.at,
            expires_at: ends.map_or(until, |ends| ends.min(until)),
        }
    };
    Ok(Json(Leases { items: leases.into_iter().map(view).collect() }))
}
