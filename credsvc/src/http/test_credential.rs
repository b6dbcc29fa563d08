//! `POST /v1/credentials/{credential_id}/test`

use axum::{Json, extract::State};
use servicekit::{Caller, Path, Problem, scope::CredentialsWrite};
use shared_models::{CredentialId, ProblemBody};

use super::Person;
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    origin::Origin,
    probe::{self, Outcome, Tested},
    resolve,
    store::{
        self,
        credential::{Credential, Health},
    },
};

/// Try a credential.
///
/// Really asks the provider who it is, or logs in to the database, and keeps what came of it. Its owner, or an
/// administrator when it is the tenant's. A failed test is an answer, not an error.
#[utoipa::path(post, path = "/v1/credentials/{credential_id}/test", tag = "credentials",
    params(("credential_id" = CredentialId, Path)), security(("token" = ["credentials:write"])),
    responses((status = 200, body = Tested), (status = "default", body = ProblemBody)))]
pub(crate) async fn test_credential(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    origin: Origin,
    Path(id): Path<CredentialId>,
) -> Result<Json<Tested>, Problem> {
    let entry = Entry::new(&caller, &origin, Action::Test).about(id);
    match test(&app, &caller, id, entry.clone()).await {
        Ok(tested) => Ok(Json(tested)),
        Err(error) => Err(app.ledger.refused(caller.tenant, entry, error).await.into()),
    }
}

async fn test(
    app: &App,
    caller: &Caller<CredentialsWrite>,
    id: CredentialId,
    entry: Entry,
) -> Result<Tested, Error> {
    let (credential, now) = usable(app, caller, id).await?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let kind = app.types.find(&mut tx, &credential.kind).await?;
    drop(tx);
    let kind = kind.ok_or_else(|| Error::NoType(credential.kind.clone()))?;
    let fields = app.keys.unseal(&credential).await?;
    let hosts = &credential.allowed_hosts;
    let tested = probe::run(&app.egress, &kind.definition, &fields, hosts, now).await?;

    let mut tx = app.db.begin(caller.tenant).await?;
    let kept = serde_json::to_value(&tested).map_err(anyhow::Error::from)?;
    store::refresh::set_tested(&mut tx, id, &kept).await?;
    let (from, to): (&[Health], _) = match tested.outcome {
        Outcome::Passed => (&[Health::FailedTest], Health::Ok),
        Outcome::Failed => (&[Health::Ok, Health::Expiring], Health::FailedTest),
    };
    if store::refresh::set_health(&mut tx, id, from, to, None).await? {
        let event = Credential { health: to, health_reason: None, ..credential }.health_changed();
        pubsub::emit(&mut tx, &event).await?;
    }
    let failed = tested.outcome == Outcome::Failed;
    let entry = if failed { entry.failed("test_failed") } else { entry };
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(tested)
}

/// A credential that the person may change, with an access token that is good if it is a connection; and the
/// database's time.
pub(super) async fn usable(
    app: &App,
    caller: &Caller<CredentialsWrite>,
    id: CredentialId,
) -> Result<(Credential, chrono::DateTime<chrono::Utc>), Error> {
    let person = Person::of(caller)?;
    let mut renewed = false;
    loop {
        let mut tx = app.db.begin(caller.tenant).await?;
        let found = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
        let now = store::credential::now(&mut tx).await?;
        drop(tx);
        person.check_may_change(&found)?;
        resolve::check_usable(id, found.health, found.expires_at, found.is_connection(), now)?;
        if renewed || found.token_expires_at.is_none_or(|at| at > now) {
            return Ok((found, now));
        }
        app.renewals.renew(caller.tenant, id, found.version).await?;
        renewed = true;
    }
}
