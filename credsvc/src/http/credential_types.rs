//! `/v1/credential-types`: the catalogue of types, and a tenant's own.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use servicekit::{
    Body, Caller, Created, FieldError, Once, Path, Problem,
    scope::{CredentialsRead, SettingsWrite},
};
use shared_models::ProblemBody;

use super::all_right;
use crate::{
    App, Error,
    audit::{self, Action, Entry},
    origin::Origin,
    store,
    types::{CredentialType, FormField, Kind},
};

/// A type as a form needs it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TypeView {
    #[serde(flatten)]
    definition: CredentialType,
    /// The fields to ask for, needed ones first.
    fields: Vec<FormField>,
    /// Whether credentials of it can be tried.
    testable: bool,
    /// Whether calls can be made with credentials of it through `/v1/proxy`.
    callable: bool,
    /// Whether it is one of the tenant's own.
    own: bool,
}

/// All types.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TypeList {
    items: Vec<TypeView>,
}

/// List the types of credentials.
///
/// With everything a form needs: labels, help, which fields are secret or needed, and options. The platform's first, then
/// the tenant's own; there are few, so there are no pages.
#[utoipa::path(get, path = "/v1/credential-types", tag = "credential types",
    security(("token" = ["credentials:read"])),
    responses((status = 200, body = TypeList), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_types(
    State(app): State<App>,
    caller: Caller<CredentialsRead>,
) -> Result<Json<TypeList>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let own = store::credential_type::list(&mut tx).await?;
    let seeded = app.types.all().map(|definition| TypeView::new(definition.clone(), false));
    let own = own.into_iter().map(|definition| TypeView::new(definition, true));
    Ok(Json(TypeList { items: seeded.chain(own).collect() }))
}

/// Get a type of credentials.
#[utoipa::path(get, path = "/v1/credential-types/{name}", tag = "credential types",
    params(("name" = String, Path)), security(("token" = ["credentials:read"])),
    responses((status = 200, body = TypeView), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_type(
    State(app): State<App>,
    caller: Caller<CredentialsRead>,
    Path(name): Path<String>,
) -> Result<Json<TypeView>, Problem> {
    if let Some(kind) = app.types.get(&name) {
        return Ok(Json(TypeView::new(kind.definition.clone(), false)));
    }
    check_name(&name)?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::credential_type::find(&mut tx, &name).await?;
    let found = found.ok_or(Error::NoType(name))?;
    Ok(Json(TypeView::new(found.definition, true)))
}

/// Add a type of the tenant's own.
///
/// For administrators. Its values are checked against `schema`; `call` and `test` say how it is used and tried.
#[utoipa::path(post, path = "/v1/credential-types", tag = "credential types",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = CredentialType,
    security(("token" = ["settings:write"])),
    responses((status = 201, body = TypeView), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_type(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    origin: Origin,
    mut once: Once,
    Body(new): Body<CredentialType>,
) -> Result<Response, Problem> {
    let person = caller.person()?;
    check(&new)?;
    if app.types.get(&new.name).is_some() {
        return Err(Error::TypeTaken(new.name).into());
    }
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(stored);
    }
    store::credential_type::insert(&mut tx, &new, person).await?;
    let purpose = format!("type {}", new.name);
    let view = TypeView::new(new, true);
    once.remember(&mut tx, StatusCode::CREATED, &view).await?;
    let entry = Entry::new(&caller, &origin, Action::Configure).because(Some(&purpose), None);
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(Created(view).into_response())
}

/// Replace a type of the tenant's own.
///
/// For administrators. Credentials that are stored stay as they are; the next edit of their secret is checked against the
/// new schema.
#[utoipa::path(put, path = "/v1/credential-types/{name}", tag = "credential types",
    params(("name" = String, Path)), request_body = CredentialType,
    security(("token" = ["settings:write"])),
    responses((status = 200, body = TypeView), (status = "default", body = ProblemBody)))]
pub(crate) async fn replace_type(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    origin: Origin,
    Path(name): Path<String>,
    Body(new): Body<CredentialType>,
) -> Result<Json<TypeView>, Problem> {
    caller.person()?;
    check_name(&name)?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if store::credential_type::find(&mut tx, &name).await?.is_none() {
        return Err(Error::NoType(name).into());
    }
    if new.name != name {
        return Err(Error::field("/name", "cannot be changed").into());
    }
    check(&new)?;
    let definition = serde_json::to_value(&new).map_err(Problem::internal)?;
    if !store::credential_type::update(&mut tx, &name, &definition).await? {
        return Err(Error::NoType(name).into());
    }
    let purpose = format!("type {name}");
    let entry = Entry::new(&caller, &origin, Action::Configure).because(Some(&purpose), None);
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(Json(TypeView::new(new, true)))
}

/// Remove a type of the tenant's own.
///
/// For administrators. Refused while credentials have it.
#[utoipa::path(delete, path = "/v1/credential-types/{name}", tag = "credential types",
    params(("name" = String, Path)), security(("token" = ["settings:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_type(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    origin: Origin,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.person()?;
    check_name(&name)?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if !store::credential_type::delete(&mut tx, &name).await? {
        return Err(Error::NoType(name).into());
    }
    let purpose = format!("type {name}");
    let entry = Entry::new(&caller, &origin, Action::Configure).because(Some(&purpose), None);
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl TypeView {
    fn new(definition: CredentialType, own: bool) -> Self {
        Self {
            fields: definition.form(),
            testable: definition.test.is_some(),
            callable: definition.call.is_some(),
            own,
            definition,
        }
    }
}

/// A name that cannot be stored names nothing.
fn check_name(name: &str) -> Result<(), Error> {
    if name.contains('\0') { Err(Error::NoType(name.replace('\0', ""))) } else { Ok(()) }
}

fn check(new: &CredentialType) -> Result<(), Error> {
    let mut errors = Vec::new();
    new.check(&mut errors);
    if let Err(why) = Kind::new(new.clone()) {
        errors.push(FieldError::new("/schema", why));
    }
    all_right(errors)
}
