//! `POST /tenant/{tenant_id}/credentials`, and the same for services on behalf of a person.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use servicekit::{Body, Caller, Created, FieldError, Once, Path, Problem, scope::CredentialsWrite};
use shared_models::{
    CredentialId, ProblemBody, Role, TenantId, UserId, events::credential::CredentialCreated,
};
use zeroize::Zeroizing;

use super::{Person, all_right, check_hosts, check_meta, check_name, check_tenant, seen};
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    fields::Fields,
    origin::Origin,
    store::{
        self,
        credential::{Environment, Terms},
    },
    types::{self, Auth, Kind},
    vault::Whose,
};

/// A secret to keep.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCredential {
    /// Whose it is: absent means the caller's, null means the tenant's (administrators only).
    #[serde(default, skip_serializing_if = "Said::is_nothing")]
    #[schema(value_type = Option<UserId>, required = false)]
    user_id: Said,
    /// Unique among the tenant's credentials of the environment; made up when absent.
    #[serde(default)]
    name: Option<String>,
    /// One of `GET /v1/credential-types`; `generic` (any fields) when absent.
    #[serde(default = "generic", rename = "type")]
    #[schema(required = false)]
    kind: String,
    /// `production` when absent.
    #[serde(default = "production")]
    #[schema(required = false)]
    environment: Environment,
    /// Free keys and values, to find it by; not secret.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    meta: Map<String, Value>,
    /// The secret: an object of at most 64 KiB, as its type wants it.
    credentials: Fields,
    /// When it stops being given out.
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
    /// The only hosts it may be sent to (`api.example.com`, `*.example.com`); any when empty.
    #[serde(default)]
    #[schema(required = false)]
    allowed_hosts: Vec<String>,
    /// Bait (administrators only): it works like any other, and whoever asks for it raises `credential.honey_used`.
    #[serde(default)]
    #[schema(required = false)]
    honey: bool,
}

/// Whose a credential shall be: `null` is not the same as nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Said {
    #[default]
    Nothing,
    Tenants,
    Users(UserId),
}

impl Said {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// For what already belongs to somebody nothing needs to be said.
    pub(super) fn or_own(self, decided: bool) -> Self {
        if decided { Self::Nothing } else { self }
    }
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Tenants, Self::Users))
    }
}

impl Serialize for Said {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing | Self::Tenants => serializer.serialize_none(),
            Self::Users(user) => user.serialize(serializer),
        }
    }
}

/// Where the secret is kept.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct StoredCredential {
    credential_id: CredentialId,
}

/// Store a credential.
///
/// The secret is sealed before it reaches the database and is never shown to people again. Without `user_id` it belongs
/// to the caller; null makes it the tenant's, which only administrators may do; a service must say which, and show the
/// token of the person it acts for.
#[utoipa::path(post, path = "/tenant/{tenant_id}/credentials", tag = "credentials",
    params(("tenant_id" = TenantId, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = NewCredential, security(("token" = ["credentials:write"])),
    responses((status = 201, body = StoredCredential), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_credential(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    origin: Origin,
    Path(tenant): Path<TenantId>,
    once: Once,
    Body(new): Body<NewCredential>,
) -> Result<Response, Problem> {
    check_tenant(&caller, tenant)?;
    create(&app, &caller, &origin, once, new).await
}

/// Store a credential for a person.
///
/// For services: `user_id` must be the person whose token is shown, or null for the tenant's.
#[utoipa::path(post, path = "/internal/credentials", tag = "internal",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = NewCredential, security(("token" = ["credentials:write"])),
    responses((status = 201, body = StoredCredential), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_credential_for_person(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    origin: Origin,
    once: Once,
    Body(new): Body<NewCredential>,
) -> Result<Response, Problem> {
    if caller.user().is_some() {
        return Err(Error::ServicesOnly.into());
    }
    create(&app, &caller, &origin, once, new).await
}

async fn create(
    app: &App,
    caller: &Caller<CredentialsWrite>,
    origin: &Origin,
    mut once: Once,
    new: NewCredential,
) -> Result<Response, Problem> {
    let kind = new.check(app, caller.tenant).await?;
    let whose =
        Whose { tenant: caller.tenant, credential: CredentialId::mint(), user: None, version: 1 };
    let entry = Entry::new(caller, origin, Action::Create).about(whose.credential);
    let (creator, user) = match owner(caller, new.user_id) {
        Ok(_) if new.honey && !Person::of(caller)?.is(Role::Admin) => {
            return Err(app.ledger.refused(caller.tenant, entry, Error::AdminsOnly).await.into());
        }
        Ok(owner) => owner,
        Err(error) => {
            return Err(app.ledger.refused(caller.tenant, entry, error).await.into());
        }
    };
    let whose = Whose { user, ..whose };
    let seen = seen(app, caller.tenant, &once, &new.to_bytes()?).await?;
    let (mut tx, key) = app.keys.begin(caller.tenant).await?;
    let sealed = key.seal(&whose, &new.credentials.to_bytes()?).map_err(Error::from)?;
    if let Some(stored) = once.begin(&mut tx, caller, &seen).await? {
        return Ok(stored);
    }
    // It was there when the fields were checked.
    if !app.types.hold(&mut tx, &new.kind).await? {
        return Err(Error::Invalid(vec![types::unknown("/type")]).into());
    }
    let name = new.name.clone().unwrap_or_else(|| made_up_name(&new.kind, whose.credential));
    let (terms, connection) = (new.terms(), kind.connection());
    let row = store::credential::NewCredential {
        whose,
        name: &name,
        kind: &new.kind,
        environment: new.environment,
        meta: &Value::Object(new.meta.clone()),
        mask: &new.credentials.mask(),
        sealed: &sealed,
        created_by: creator,
        terms: &terms,
        connection: connection.as_ref(),
    };
    store::credential::insert(&mut tx, &row).await?;
    let event = CredentialCreated { credential_id: whose.credential, user_id: user, version: 1 };
    pubsub::emit(&mut tx, &event).await?;
    let stored = StoredCredential { credential_id: whose.credential };
    once.remember(&mut tx, StatusCode::CREATED, &stored).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(Created(stored).into_response())
}

impl NewCredential {
    /// Everything that is wrong with it, or its type.
    async fn check(&self, app: &App, tenant: TenantId) -> Result<Kind, Error> {
        let mut errors = Vec::new();
        let mut tx = app.db.begin(tenant).await?;
        let kind = app.types.find(&mut tx, &self.kind).await?;
        drop(tx);
        self.credentials.check(&mut errors);
        match &kind {
            Some(kind) if kind.definition.auth == Auth::Oauth2 => {
                let why = "is connected: begin with `POST /v1/connect_sessions`";
                errors.push(FieldError::new("/type", why));
            }
            Some(kind) => kind.check(&self.credentials, &mut errors),
            None => errors.push(types::unknown("/type")),
        }
        if let Some(name) = &self.name {
            check_name(name, &mut errors);
        }
        check_meta(&self.meta, &mut errors);
        check_hosts(&self.allowed_hosts, &mut errors);
        all_right(errors)?;
        self.credentials.to_bytes()?;
        kind.ok_or_else(|| Error::NoType(self.kind.clone()))
    }

    fn terms(&self) -> Terms {
        Terms {
            expires_at: self.expires_at,
            allowed_hosts: self.allowed_hosts.clone(),
            honey: self.honey,
        }
    }

    fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        Ok(Zeroizing::new(serde_json::to_vec(self).map_err(anyhow::Error::from)?))
    }
}

/// Who stores it, and whose it will be.
pub(super) fn owner(
    caller: &Caller<CredentialsWrite>,
    said: Said,
) -> Result<(UserId, Option<UserId>), Error> {
    let person = Person::of(caller)?;
    if !person.is(Role::Member) {
        return Err(Error::ViewersDoNotWrite);
    }
    let user = match said {
        Said::Nothing if caller.user().is_none() => {
            return Err(Error::field(
                "/user_id",
                "a service says whose it is: a user, or null for the tenant",
            ));
        }
        Said::Nothing => Some(person.user),
        Said::Tenants if person.is(Role::Admin) => None,
        Said::Tenants => return Err(Error::AdminsOnly),
        Said::Users(user) if user == person.user => Some(user),
        Said::Users(_) => {
            return Err(Error::field("/user_id", "must be your own id, or null for the tenant"));
        }
    };
    Ok((person.user, user))
}

pub(super) fn made_up_name(kind: &str, id: CredentialId) -> String {
    let id = id.uuid().simple().to_string();
    format!("{kind}-{}", &id[id.len() - 12..])
}

fn generic() -> String {
    types::GENERIC.to_owned()
}

fn production() -> Environment {
    Environment::Production
}
