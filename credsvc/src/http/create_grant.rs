//! `POST /internal/grants`

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use servicekit::{
    Body, Caller, Created, Once, Problem,
    scope::{CredentialsGrant, CredentialsRead, Scope as _},
};
use shared_models::{CredentialId, GrantId, ProblemBody, Role, UserId};

use super::Person;
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    grantee::Grantee,
    origin::Origin,
    store::{self, credential::Credential},
};

/// Who may use what.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGrant {
    credential_id: CredentialId,
    grantee: Grantee,
    /// The agent's or trigger's owner.
    owner: UserId,
}

/// The recorded grant.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Granted {
    grant_id: GrantId,
}

/// Let an agent or trigger use a credential.
///
/// For services, with the token of the person who saved the agent or trigger. That person must be allowed to use the
/// credential: its owner, who then owns the agent or trigger as well, or any member when it is the tenant's; for an agent
/// their token must hold `credentials:read` too. Granting what is granted already gives the same grant.
#[utoipa::path(post, path = "/internal/grants", tag = "internal", request_body = NewGrant,
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["credentials:grant"])),
    responses((status = 201, body = Granted), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_grant(
    State(app): State<App>,
    caller: Caller<CredentialsGrant>,
    origin: Origin,
    mut once: Once,
    Body(new): Body<NewGrant>,
) -> Result<Response, Problem> {
    let entry =
        Entry::new(&caller, &origin, Action::Grant).about(new.credential_id).grantee(new.grantee);
    let person = match decide(&app, &caller, &new).await {
        Ok(person) => person,
        Err(error) => {
            return Err(app.ledger.refused(caller.tenant, entry, error).await.into());
        }
    };
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(stored);
    }
    // Held until the commit, so that it is not deleted under the new grant.
    if !store::credential::hold(&mut tx, new.credential_id).await? {
        return Err(Error::NotFound(new.credential_id).into());
    }
    let grant_id =
        store::grant::insert(&mut tx, new.credential_id, new.grantee, new.owner, person.user)
            .await?;
    let granted = Granted { grant_id };
    once.remember(&mut tx, StatusCode::CREATED, &granted).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(Created(granted).into_response())
}

/// The person who grants, if they may.
async fn decide(
    app: &App,
    caller: &Caller<CredentialsGrant>,
    new: &NewGrant,
) -> Result<Person, Error> {
    if caller.user().is_some() {
        return Err(Error::ServicesOnly);
    }
    let person = Person::of(caller)?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::credential::find(&mut tx, new.credential_id).await?;
    let Credential { user_id, .. } = found.ok_or(Error::NotFound(new.credential_id))?;
    match user_id {
        Some(owner) if owner != person.user => return Err(Error::NotFound(new.credential_id)),
        Some(owner) if owner != new.owner => {
            let message =
                "a person's own credential is only for agents and triggers that person owns";
            return Err(Error::field("/owner", message));
        }
        _ => {}
    }
    if !person.is(Role::Member) {
        return Err(Error::ViewersDoNotWrite);
    }
    // An agent's tools send the secret wherever they are told to, so a key that was made for agents alone must not get
    // at secrets through one. A trigger only compares.
    let agents = matches!(new.grantee, Grantee::Agent(_) | Grantee::Model(_));
    if agents && !caller.subject().is_some_and(|subject| subject.holds(CredentialsRead::NAME)) {
        return Err(Error::KeyWithoutCredentials);
    }
    Ok(person)
}
