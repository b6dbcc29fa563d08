//! `PATCH /tenant/{tenant_id}/credentials/{credential_id}`

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::{
    Body, Caller, FieldError, IfMatch, Path, Problem, merge_patch, reply::Tagged,
    scope::CredentialsWrite,
};
use shared_models::{
    CredentialId, ProblemBody, Role, TenantId, events::credential::CredentialUpdated,
};

use super::{
    Person, all_right, check_hosts, check_meta, check_name, check_tenant, view::CredentialView,
};
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    fields::{Fields, wipe},
    origin::Origin,
    store::{
        self,
        credential::{Credential, Edit, Terms},
    },
    types,
    vault::{Sealed, TenantKey, Whose},
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
    /// When it stops being given out; null takes that back.
    #[serde(default)]
    #[schema(required = false)]
    expires_at: Option<DateTime<Utc>>,
    /// The only hosts it may be sent to; any when empty.
    #[schema(required = false)]
    allowed_hosts: Vec<String>,
    /// Whether it is bait; only administrators change that.
    #[schema(required = false)]
    honey: bool,
    /// Merged into the secret; null removes a field. Makes a new version. Tokens of a connection cannot be edited.
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
    // Merged again into what it is now: it also changes without anybody's doing, when a token is renewed.
    const ATTEMPTS: u32 = 5;
    check_tenant(&caller, tenant)?;
    let entry = Entry::new(&caller, &origin, Action::Update).about(id);
    let mut changed = Ok(None);
    for _ in 0..ATTEMPTS {
        changed = change(&app, &caller, id, (&if_match, &patch), entry.clone()).await;
        if !matches!(changed, Ok(None)) {
            break;
        }
    }
    wipe(&mut patch);
    let changed = changed?.ok_or(Error::Changed)?;
    Ok(Tagged(changed.revision, CredentialView::masked(changed)).into_response())
}

/// One attempt; nothing when it was changed at the same time.
async fn change(
    app: &App,
    caller: &Caller<CredentialsWrite>,
    id: CredentialId,
    (if_match, patch): (&IfMatch, &Value),
    entry: Entry,
) -> Result<Option<Credential>, Problem> {
    let tenant = caller.tenant;
    let current = match find_changeable(app, caller, id).await {
        Ok(current) => current,
        Err(error) => return Err(app.ledger.refused(tenant, entry, error).await.into()),
    };
    if_match.check(current.revision)?;
    let mut edited = edited(app, &current, patch).await?;
    if edited.honey != current.honey && !Person::of(caller)?.is(Role::Admin) {
        return Err(app.ledger.refused(tenant, entry, Error::AdminsOnly).await.into());
    }
    let renew = current.is_connection()
        && current.provider_config_id.is_none()
        && edited.credentials.is_some();
    if renew && let Some(fields) = &mut edited.credentials {
        fields.remove("access_token");
    }
    let (mut tx, secret) = match &edited.credentials {
        Some(fields) => {
            let (tx, key) = app.keys.begin(tenant).await?;
            (tx, Some(replacement(&key, &current, fields)?))
        }
        None => (app.db.begin(tenant).await?, None),
    };
    let edit = Edit {
        name: &edited.name,
        meta: &Value::Object(edited.meta.clone()),
        secret: secret.as_ref().map(|secret| (&secret.sealed, &secret.mask)),
        terms: &Terms {
            expires_at: edited.expires_at,
            allowed_hosts: edited.allowed_hosts.clone(),
            honey: edited.honey,
        },
        renew,
    };
    let Some(changed) = store::credential::update(&mut tx, &current, &edit).await? else {
        return Ok(None);
    };
    if changed.health != current.health {
        pubsub::emit(&mut tx, &changed.health_changed()).await?;
    }
    // Any change ends the leases under way, as the list of leases says.
    let event =
        CredentialUpdated { credential_id: id, user_id: changed.user_id, version: changed.version };
    pubsub::emit(&mut tx, &event).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(Some(changed))
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
        expires_at: current.expires_at,
        allowed_hosts: current.allowed_hosts.clone(),
        honey: current.honey,
        credentials: if with_secret { Some(app.keys.unseal(current).await?) } else { None },
    };
    let after: Editable = merge_patch(&before, patch)?;
    let mut errors = Vec::new();
    check_name(&after.name, &mut errors);
    check_meta(&after.meta, &mut errors);
    check_hosts(&after.allowed_hosts, &mut errors);
    let mut tx = app.db.begin(current.tenant_id).await?;
    let kind = app.types.find(&mut tx, &current.kind).await?;
    drop(tx);
    match &after.credentials {
        Some(fields) => {
            fields.check(&mut errors);
            match &kind {
                // Where a connection's calls go may be changed; its tokens are its provider's.
                Some(_)
                    if current.provider_config_id.is_some() && !same_tokens(&before, fields) =>
                {
                    let why = "is connected: begin with `POST /v1/connect_sessions`";
                    errors.push(FieldError::new("/credentials", why));
                }
                Some(kind) => kind.check(fields, &mut errors),
                None => errors.push(types::unknown("/type")),
            }
        }
        None if with_secret => {
            errors
                .push(FieldError::new("/credentials", "cannot be removed; delete the credential"));
        }
        None => {}
    }
    all_right(errors)?;
    Ok(after)
}

fn same_tokens(before: &Editable, after: &Fields) -> bool {
    use secrecy::ExposeSecret;
    let Some(before) = &before.credentials else { return false };
    ["access_token", "refresh_token"].iter().all(|name| {
        let (old, new) = (before.text(name), after.text(name));
        old.as_ref().map(ExposeSecret::expose_secret)
            == new.as_ref().map(ExposeSecret::expose_secret)
    })
}

fn replacement(
    key: &TenantKey,
    current: &Credential,
    fields: &Fields,
) -> Result<Replacement, Error> {
    let whose = Whose { version: current.version + 1, ..current.whose() };
    let sealed = key.seal(&whose, &fields.to_bytes()?)?;
    Ok(Replacement { sealed, mask: fields.mask() })
}
