//! One operation as one tool.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use shared_models::{Effect, ToolKind};

use super::{
    DescribedOperation, Wanted, as_text, body, fits_any, names::Names, parameters::Arguments,
    refs::Refs, schema::Schemas, security, servers,
};
use crate::tools::{ToolFields, half_a_minute, http::Encoding};

/// Longer ones cost more with every call of the model than they tell it.
const LONGEST_DESCRIPTION: usize = 1024;

/// An operation where it stands in the document.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) document: &'a Value,
    pub(super) refs: &'a Refs<'a>,
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) item: &'a Value,
    pub(super) operation: &'a Value,
}

/// The parts of the request, as they are put together.
pub(super) struct Parts {
    pub(super) arguments: Arguments,
    pub(super) path: String,
    pub(super) query: Vec<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) join: BTreeMap<String, String>,
    pub(super) body: Option<Value>,
    pub(super) encoding: Encoding,
    /// The header by which the server recognises a repeat.
    pub(super) idempotency_header: Option<String>,
}

impl Place<'_> {
    pub(super) fn key(&self) -> String {
        format!("{} {}", self.method.to_ascii_uppercase(), self.path)
    }

    fn id(&self) -> Option<&str> {
        self.operation.get("operationId").and_then(Value::as_str)
    }

    pub(super) fn is_wanted(&self, wanted: &Wanted) -> bool {
        let tags = self.operation.get("tags").and_then(Value::as_array).into_iter().flatten();
        let mut texts: BTreeSet<String> = tags.map(as_text).collect();
        texts.extend([self.key(), self.path.to_owned()]);
        texts.extend(self.id().map(str::to_owned));
        let included = wanted.include.is_empty() || fits_any(&wanted.include, &texts);
        included && !fits_any(&wanted.exclude, &texts)
    }

    pub(super) fn describe(&self, wanted: &Wanted, names: &mut Names) -> DescribedOperation {
        let mut schemas = Schemas::new(self.refs);
        let tool = self.tool(wanted, &mut schemas, names).map(Box::new);
        DescribedOperation { key: self.key(), tool, warnings: schemas.warnings }
    }

    fn tool(
        &self,
        wanted: &Wanted,
        schemas: &mut Schemas<'_>,
        names: &mut Names,
    ) -> Result<ToolFields, String> {
        if matches!(self.method, "options" | "trace") {
            return Err(format!("{} is nothing a tool does", self.method.to_ascii_uppercase()));
        }
        let base = servers::base(wanted, [self.operation, self.item, self.document])?;
        let mut parts = Parts::new(self.path);
        parts.take_parameters(self, schemas)?;
        body::take(self, &mut parts, schemas)?;
        let mut unserved = Vec::new();
        let credential = security::credential(self, &mut unserved);
        for warning in &unserved {
            schemas.warn(warning);
        }
        let mut config = json!({
            "method": self.method.to_ascii_uppercase(), "url": parts.url(&base),
            "headers": parts.headers, "join": parts.join, "encoding": parts.encoding,
        });
        if let Some(fields) = config.as_object_mut() {
            let mut put = |name: &str, value: Option<Value>| {
                fields.extend(value.map(|value| (name.to_owned(), value)));
            };
            put("body", parts.body);
            put("credential", credential.and_then(|place| serde_json::to_value(place).ok()));
            put("idempotency_header", parts.idempotency_header.clone().map(Value::from));
        }
        let fields = ToolFields {
            name: names.give(self.id(), self.method, self.path),
            description: self.description(),
            kind: ToolKind::Http,
            parameters: parts.arguments.schema(),
            effect: parts.idempotency_header.map(|_| Effect::Keyed),
            timeout_ms: half_a_minute(),
            approval: None,
            probe: None,
            config,
        };
        fields.checked().map_err(|errors| {
            let list = errors.iter().map(|error| format!("{}: {}", error.pointer, error.message));
            list.collect::<Vec<_>>().join("; ")
        })
    }

    fn description(&self) -> String {
        let text = |field: &str| {
            let text = self.operation.get(field).or_else(|| self.item.get(field));
            text.and_then(Value::as_str).map(str::trim).unwrap_or_default()
        };
        let (summary, long) = (text("summary"), text("description"));
        let mut whole = match (summary, long) {
            ("", "") => self.key(),
            (short, "") => short.to_owned(),
            ("", long) => long.to_owned(),
            (short, long) if long.starts_with(short) => long.to_owned(),
            (short, long) => format!("{short}\n\n{long}"),
        };
        if self.operation.get("deprecated") == Some(&Value::Bool(true)) {
            whole = format!("Deprecated. {whole}");
        }
        let whole = whole.replace('\0', "");
        let cut = whole.floor_char_boundary(LONGEST_DESCRIPTION);
        if cut < whole.len() {
            return format!("{}…", whole.get(..cut).unwrap_or_default());
        }
        whole
    }
}

impl Parts {
    fn new(path: &str) -> Self {
        Self {
            arguments: Arguments::default(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: BTreeMap::from([("Accept".into(), "application/json, */*;q=0.5".into())]),
            join: BTreeMap::new(),
            body: None,
            encoding: Encoding::Json,
            idempotency_header: None,
        }
    }

    fn url(&self, base: &str) -> String {
        let mut url = format!("{base}{}", self.path);
        for pair in &self.query {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(pair);
        }
        url
    }
}

/// The arguments' schema, closed: what a tool does not know it does not take.
pub(super) fn object(properties: Map<String, Value>, required: &[String]) -> Value {
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let (false, Some(fields)) = (required.is_empty(), schema.as_object_mut()) {
        fields.insert("required".into(), json!(required));
    }
    schema
}
