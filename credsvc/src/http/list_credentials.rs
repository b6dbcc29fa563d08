//! `GET /tenant/{tenant_id}/credentials`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use servicekit::{Caller, FieldError, Params, Path, Problem, scope::CredentialsRead};
use shared_models::{ProblemBody, TenantId};

use super::{check_tenant, is_one, view::CredentialView};
use crate::{
    App,
    audit::{Action, Entry},
    origin::Origin,
    store::{
        self,
        credential::{Credential, Environment, Filter, Health},
    },
};

/// List credentials.
///
/// The tenant's and one's own, masked, newest first. `meta.<key>=<value>` finds those whose metadata has that value as
/// text; it may be given for several keys, and all must match.
#[utoipa::path(get, path = "/tenant/{tenant_id}/credentials", tag = "credentials",
    params(("tenant_id" = TenantId, Path), PageQuery,
        ("name" = Option<String>, Query, description = "Exactly this name."),
        ("type" = Option<String>, Query, description = "Exactly this type."),
        ("environment" = Option<String>, Query, description = "Exactly this environment."),
        ("health" = Option<String>, Query, description = "Exactly this health, such as `needs_reconnect`."),
        ("meta.key" = Option<String>, Query, description = "Metadata `key` (any key) equals this text.")),
    security(("token" = ["credentials:read"])),
    responses((status = 200, body = Page<CredentialView>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_credentials(
    State(app): State<App>,
    caller: Caller<CredentialsRead>,
    origin: Origin,
    Path(tenant): Path<TenantId>,
    Params(query): Params<Vec<(String, String)>>,
) -> Result<Json<Page<CredentialView>>, Problem> {
    check_tenant(&caller, tenant)?;
    let (filter, page) = parse(query)?;
    let (limit, after) = (page.limit(), page.after()?);
    let user = caller.user().or_else(|| caller.subject().map(servicekit::Subject::user));
    let mut tx = app.db.begin(tenant).await?;
    let found = store::credential::list_page(&mut tx, user, &filter, after, limit).await?;
    drop(tx);
    let entry = Entry::new(&caller, &origin, Action::Read).because(Some("list"), None);
    app.ledger.record(tenant, entry).await?;
    Ok(Json(Page::new(found, limit, Credential::position).map(CredentialView::masked)))
}

/// Reads the query by hand, because the metadata's keys are free.
fn parse(query: Vec<(String, String)>) -> Result<(Filter, PageQuery), Problem> {
    let (mut filter, mut page, mut errors) = (Filter::default(), PageQuery::default(), Vec::new());
    for (name, value) in query {
        if name.contains('\0') || value.contains('\0') {
            errors.push(FieldError::new(name.replace('\0', ""), "must not contain NUL"));
            continue;
        }
        match (name.as_str(), name.strip_prefix("meta.")) {
            ("limit", _) => match value.parse() {
                Ok(limit) => page.limit = Some(limit),
                Err(_) => errors.push(FieldError::new("limit", "must be a number from 1 to 100")),
            },
            ("cursor", _) => page.cursor = Some(value),
            ("name", _) => filter.name = Some(value),
            ("type", _) => filter.kind = Some(value),
            ("environment", _) if is_one::<Environment>(&value) => filter.environment = Some(value),
            ("environment", _) => {
                let why = "must be `development`, `staging` or `production`";
                errors.push(FieldError::new("environment", why));
            }
            ("health", _) if is_one::<Health>(&value) => filter.health = Some(value),
            ("health", _) => {
                let why = "must be `ok`, `expiring`, `needs_reconnect`, `failed_test`, `revoked` or `expired`";
                errors.push(FieldError::new("health", why));
            }
            (_, Some(key)) if !key.is_empty() => filter.meta.push((key.to_owned(), value)),
            _ => errors.push(FieldError::new(name, "is not a filter of this list")),
        }
    }
    if errors.is_empty() { Ok((filter, page)) } else { Err(Problem::validation(errors)) }
}
