//! `PATCH /tenant/{tenant_id}/credentials/{credential_id}`

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::{
    Body, Caller, IfMatch, Path, Problem, merge_patch, reply::Tagged, scope::CredentialsWrite,
};
use shared_models::{CredentialId, ProblemBody, TenantId, events::credential::CredentialUpdated};

use super::{Person, all_right, check_meta, check_name, check_tenant, view::CredentialView};
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    fields::{Fields, wipe},
    kinds,
    origin::Origin,
    resolve,
    store::{
        self,
        credential::{Credential, Edit},
    },
    vault::{Sealed, Whose},
};

/// What can be edited; fields that are left out stay as they are.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CredentialPatch)]
pub(crate) struct Editable {
    #[schema(required = false)]
    name: String,
    /// Merged into the metadata; null removes a key.
    #[schema(value_type = Object, required = false)]
    meta: Map<String, Value>,
    /// Merged into the secret; null removes a field. Makes a new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, required = false)]
    credentials: Option<Fields>,
}

/// A secret in place of the stored one.
struct Replacement {
    sealed: Sealed,
    mask: Value,
}

/// Change a credential (JSON Merge Patch).
///
/// Its owner, or an administrator when it is the tenant's. With `If-Match` only the version that was read is changed.
#[utoipa::path(patch, path = "/tenant/{tenant_id}/credentials/{credential_id}", tag = "credentials",
    params(("tenant_id" = TenantId, Path), ("credential_id" = CredentialId, Path),
        ("If-Match" = Option<String>, Header)),
    request_body = Editable, security(("token" = ["credentials:write"])),
    responses((status = 200, body = CredentialView), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_credential(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    origin: Origin,
    Path((tenant, id)): Path<(TenantId, CredentialId)>,
    if_match: IfMatch,
    Body(mut patch): Body<Value>,
) -> Result<Response, Problem> {
    check_tenant(&caller, tenant)?;
    let entry = Entry::new(&caller, &origin, Action::Update).about(id);
    let current = match find_changeable(&app, &caller, id).await {
        Ok(current) => current,
        Err(error) => return Err(app.ledger.refused(tenant, entry, error).await.into()),
    };
    if_match.check(current.revision)?;
    let edited = edited(&app, &current, &patch).await;
    wipe(&mut patch);
    let edited = edited?;
    let secret = replacement(&app, &current, edited.credentials.as_ref()).await?;

    let mut tx = app.db.begin(tenant).await?;
    let edit = Edit {
        name: &edited.name,
        meta: &Value::Object(edited.meta.clone()),
        secret: secret.as_ref().map(|secret| (&secret.sealed, &secret.mask)),
    };
    let changed =
        store::credential::update(&mut tx, &current, &edit).await?.ok_or(Error::Changed)?;
    if changed.version > current.version {
        let event = CredentialUpdated {
            credential_id: id,
            user_id: changed.user_id,
            version: changed.version,
        };
        pubsub::emit(&mut tx, &event).await?;
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(Tagged(changed.revision, CredentialView::masked(changed)).into_response())
}

async fn find_changeable(
    app: &App,
    caller: &Caller<CredentialsWrite>,
    id: CredentialId,
) -> Result<Credential, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
    Person::of(caller)?.check_may_change(&found)?;
    Ok(found)
}

/// The credential as it would be. Its secret is opened only when it is part of the edit.
async fn edited(app: &App, current: &Credential, patch: &Value) -> Result<Editable, Problem> {
    let with_secret = patch.get("credentials").is_some();
    let before = Editable {
        name: current.name.clone(),
        meta: current.meta.as_object().cloned().unwrap_or_default(),
        credentials: if with_secret { Some(resolve::unseal(app, current).await?) } else { None },
    };
    let after: Editable = merge_patch(&before, patch)?;
    let mut errors = Vec::new();
    check_name(&after.name, &mut errors);
    check_meta(&after.meta, &mut errors);
    match &after.credentials {
        Some(fields) => {
            fields.check(&mut errors);
            kinds::check(&current.kind, fields, &mut errors);
        }
        None if with_secret => {
            errors.push(servicekit::FieldError::new(
                "/credentials",
                "cannot be removed; delete the credential",
            ));
        }
        None => {}
    }
    all_right(errors)?;
    Ok(after)
}

async fn replacement(
    app: &App,
    current: &Credential,
    fields: Option<&Fields>,
) -> Result<Option<Replacement>, Error> {
    let Some(fields) = fields else { return Ok(None) };
    let key = app.active_key(current.tenant_id).await?;
    let whose = Whose { version: current.version + 1, ..current.whose() };
    let sealed = key.seal(&whose, &fields.to_bytes()?)?;
    Ok(Some(Replacement { sealed, mask: fields.mask() }))
}
