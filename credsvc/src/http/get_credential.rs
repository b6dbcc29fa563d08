//! `GET /tenant/{tenant_id}/credentials/{credential_id}`

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use servicekit::{
    Caller, Params, Path, Problem,
    reply::Tagged,
    scope::{CredentialsRead, CredentialsResolve},
};
use shared_models::{AgentId, CredentialId, ProblemBody, TenantId, TriggerId, UserId};

use super::{all_right, check_note, check_tenant, view::CredentialView};
use crate::{
    App, Error,
    audit::{Action, Entry},
    fields::Fields,
    grantee::Grantee,
    origin::Origin,
    resolve::{self, Ask},
    store::{self, credential::Credential},
};

/// What the reader says.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetCredential {
    /// The owner; needed when the credential has one.
    user_id: Option<UserId>,
    /// Services: the agent that was granted the credential. Gives the plaintext.
    agent_id: Option<AgentId>,
    /// Services: the trigger that was granted the credential. Gives the plaintext.
    trigger_id: Option<TriggerId>,
    /// Services: why.
    purpose: Option<String>,
}

/// Get a credential.
///
/// A credential that belongs to a user is only found when that user's id is given, and by people only when it is their
/// own. People and API keys see its fields masked. A service sees them in plaintext when it names the agent or trigger
/// the credential was granted to.
#[utoipa::path(get, path = "/tenant/{tenant_id}/credentials/{credential_id}", tag = "credentials",
    params(("tenant_id" = TenantId, Path), ("credential_id" = CredentialId, Path), GetCredential),
    security(("token" = ["credentials:read"])),
    responses((status = 200, body = CredentialView), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_credential(
    State(app): State<App>,
    caller: Caller<CredentialsRead>,
    resolver: Result<Caller<CredentialsResolve>, Problem>,
    origin: Origin,
    Path((tenant, id)): Path<(TenantId, CredentialId)>,
    Params(asked): Params<GetCredential>,
) -> Result<Response, Problem> {
    check_tenant(&caller, tenant)?;
    if let Some(ask) = asked.for_service(&caller, id)? {
        let (credential, fields) = opened(&app, &resolver?, &origin, ask).await?;
        let revision = credential.revision;
        return Ok(Tagged(revision, CredentialView::plain(credential, fields)).into_response());
    }
    let entry = Entry::new(&caller, &origin, Action::Read).about(id);
    match find_visible(&app, &caller, id, asked.user_id).await {
        Ok(credential) => {
            app.ledger.record(tenant, entry).await?;
            Ok(Tagged(credential.revision, CredentialView::masked(credential)).into_response())
        }
        Err(error) => Err(app.ledger.refused(tenant, entry, error).await.into()),
    }
}

/// The secret, and what is shown beside it: of one version, also when somebody changes it meanwhile.
async fn opened(
    app: &App,
    caller: &Caller<CredentialsResolve>,
    origin: &Origin,
    ask: Ask,
) -> Result<(Credential, Fields), Error> {
    const ATTEMPTS: u32 = 3;
    for _ in 0..ATTEMPTS {
        let lease = resolve::resolve(app, caller, origin, ask.clone()).await?;
        let mut tx = app.db.begin(caller.tenant).await?;
        let found = store::credential::find(&mut tx, ask.credential).await?;
        drop(tx);
        if let Some(found) = found.filter(|found| found.version == lease.credential.version) {
            return Ok((found, lease.fields));
        }
    }
    Err(Error::Changed)
}

/// The seed's rule: a user's credential needs that user's id; for a person, or a service that acts for one, it must be
/// theirs besides.
async fn find_visible(
    app: &App,
    caller: &Caller<CredentialsRead>,
    id: CredentialId,
    user: Option<UserId>,
) -> Result<Credential, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::credential::find(&mut tx, id).await?;
    let person = caller.user().or_else(|| caller.subject().map(servicekit::Subject::user));
    let visible = found.filter(|credential| match (credential.user_id, person) {
        (None, _) => true,
        (Some(owner), None) => user == Some(owner),
        (Some(owner), Some(person)) => user == Some(owner) && person == owner,
    });
    visible.ok_or(Error::NotFound(id))
}

impl GetCredential {
    /// What a service that names a grantee asks for.
    fn for_service(
        &self,
        caller: &Caller<CredentialsRead>,
        id: CredentialId,
    ) -> Result<Option<Ask>, Error> {
        let grantee = match (caller.user(), self.agent_id, self.trigger_id) {
            (Some(_), ..) | (None, None, None) => return Ok(None),
            (None, Some(agent), None) => Grantee::Agent(agent),
            (None, None, Some(trigger)) => Grantee::Trigger(trigger),
            (None, Some(_), Some(_)) => {
                return Err(Error::field("trigger_id", "name an agent or a trigger, not both"));
            }
        };
        let mut errors = Vec::new();
        if let Some(purpose) = &self.purpose {
            check_note("purpose", purpose, &mut errors);
        }
        all_right(errors)?;
        let (owner, purpose) = (self.user_id, self.purpose.clone());
        Ok(Some(Ask {
            credential: id,
            grantee,
            owner,
            purpose,
            host: None,
            run: None,
            spare: true,
        }))
    }
}
