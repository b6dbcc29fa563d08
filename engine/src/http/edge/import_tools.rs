//! `POST /v1/tools/import`

mod report;
mod work;

use std::time::Duration;

use axum::{Json, extract::State};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::Value;
use servicekit::{
    Body, Caller, FieldError,
    egress::{Call, HostPattern},
    scope::ToolsWrite,
};
use shared_models::ProblemBody;
use url::Url;
use utoipa::ToSchema;

use self::report::{Action, ImportReport, counts};
use self::work::Work;
use crate::{
    app::App,
    error::Error,
    lost_tools,
    store::tool_import,
    tools::{
        is_tool_name,
        openapi::{self, Described, Wanted},
    },
    visibility::Viewer,
};

/// No description that people write is larger.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Which description, and what is wanted of it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "petstore", "url": "https://petstore3.swagger.io/api/v3/openapi.json",
    "include": ["GET /pet/*"], "prefix": "pets_", "dry_run": true }))]
pub(crate) struct ImportTools {
    /// Importing under a name again changes the tools in place.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    name: String,
    /// Where the description is, as JSON or YAML.
    #[serde(default)]
    url: Option<String>,
    /// The description itself: an object, or JSON or YAML as text.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    document: Option<Value>,
    /// Instead of the description's servers.
    #[serde(default)]
    base_url: Option<String>,
    /// Operations by id, tag, path or `METHOD /path`, with `*` for anything. All of them when empty.
    #[serde(default)]
    include: Vec<String>,
    /// Operations that are left out, in the same way.
    #[serde(default)]
    exclude: Vec<String>,
    /// Stands before the name of every tool.
    #[serde(default)]
    prefix: String,
    /// Only tells what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Deletes tools whose operation is no longer there or no longer wanted; otherwise they are only told.
    #[serde(default)]
    prune: bool,
}

/// Make tools of an OpenAPI document.
///
/// One HTTP tool for each operation of an OpenAPI 3.0 or 3.1 document. Imported again under the same name, tools keep
/// their ids and names, and change where the description has.
#[utoipa::path(post, path = "/v1/tools/import", tag = "tools", request_body = ImportTools,
    security(("token" = ["tools:write"])),
    responses((status = 200, body = ImportReport), (status = "default", body = ProblemBody)))]
pub(crate) async fn import_tools(
    State(app): State<App>,
    caller: Caller<ToolsWrite>,
    Body(asked): Body<ImportTools>,
) -> Result<Json<ImportReport>, Error> {
    let by = caller.person()?;
    let wanted = asked.check()?;
    let fetched = match &wanted.source {
        Some(url) => Some(fetch(&app, url).await?),
        None => None,
    };
    let described = describe(fetched, asked.document.clone(), wanted).await?;

    let mut tx = app.db.begin(caller.tenant).await?;
    let import = tool_import::hold(&mut tx, &asked.name, by, asked.url.as_deref()).await?;
    if !Viewer::of(&caller).owns(import.owner) {
        return Err(Error::NotOwner("only its owner or an administrator imports it again".into()));
    }
    let mut work =
        Work::begin(&mut tx, import.import_id, import.owner, &described.operations).await?;
    let mut operations = Vec::new();
    for operation in described.operations {
        operations.push(work.take(&mut tx, operation).await?);
    }
    operations.extend(work.gone(&mut tx, asked.prune).await?);
    if !asked.dry_run {
        tx.commit().await?;
        lost_tools::note(&app, caller.tenant, by, work.lost).await;
    }
    if asked.dry_run {
        // Nothing of this is there: not even the ids.
        operations
            .iter_mut()
            .filter(|o| o.action == Action::Created)
            .for_each(|o| o.tool_id = None);
    }
    Ok(Json(ImportReport {
        import_id: (!asked.dry_run).then_some(import.import_id),
        name: asked.name,
        title: described.title,
        api_version: described.version,
        dry_run: asked.dry_run,
        counts: counts(&operations),
        operations,
    }))
}

impl ImportTools {
    fn check(&self) -> Result<Wanted, Error> {
        let mut errors = Vec::new();
        let mut url = |pointer: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(Url::parse).transpose();
            parsed.unwrap_or_else(|error| {
                errors.push(FieldError::new(pointer, error.to_string()));
                None
            })
        };
        let (base_url, source) = (url("/base_url", &self.base_url), url("/url", &self.url));
        if !is_tool_name(&self.name) {
            errors.push(FieldError::new("/name", "1 to 64 of A-Z, a-z, 0-9, `_` and `-`"));
        }
        if !self.prefix.is_empty() && (!is_tool_name(&self.prefix) || self.prefix.len() > 24) {
            errors.push(FieldError::new("/prefix", "at most 24 of A-Z, a-z, 0-9, `_` and `-`"));
        }
        if self.url.is_some() == self.document.is_some() {
            errors.push(FieldError::new("/url", "either `url` or `document`"));
        }
        if !errors.is_empty() {
            return Err(Error::Invalid(errors));
        }
        Ok(Wanted {
            base_url,
            source,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            prefix: self.prefix.clone(),
        })
    }
}

/// Reads the document, which may be large, where nobody else waits for the thread.
async fn describe(
    fetched: Option<String>,
    given: Option<Value>,
    wanted: Wanted,
) -> Result<Described, Error> {
    let pointer = if fetched.is_some() { "/url" } else { "/document" };
    let read = move || {
        let document = match (fetched, given) {
            (Some(text), _) | (None, Some(Value::String(text))) => openapi::parse(&text)?,
            (None, Some(document)) => document,
            (None, None) => return Err("there is no document".to_owned()),
        };
        openapi::describe(&document, &wanted)
    };
    let described = tokio::task::spawn_blocking(read).await.map_err(anyhow::Error::from)?;
    described.map_err(|why| refused(pointer, why))
}

async fn fetch(app: &App, url: &Url) -> Result<String, Error> {
    let mut headers = HeaderMap::new();
    let accept = "application/json, application/yaml, text/yaml, */*;q=0.5";
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    let call = Call {
        method: Method::GET,
        url: url.clone(),
        headers,
        body: Bytes::new(),
        injection: None,
        allowed_hosts: vec![HostPattern::any()],
        timeout: Duration::from_secs(20),
        max_response_bytes: MOST_BYTES,
    };
    let answer = app.egress.send(call).await.map_err(|error| refused("/url", error.to_string()))?;
    if !answer.status.is_success() {
        return Err(refused("/url", format!("the server answered HTTP {}", answer.status)));
    }
    if answer.truncated {
        return Err(refused("/url", "larger than 16 MiB".into()));
    }
    String::from_utf8(answer.body).map_err(|_| refused("/url", "not text".into()))
}

fn refused(pointer: &str, why: String) -> Error {
    Error::Invalid(vec![FieldError::new(pointer, why)])
}
