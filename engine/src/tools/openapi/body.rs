//! A request's body as the argument `body`.

use serde_json::{Value, json};

use super::{
    operation::{Parts, Place},
    schema::Schemas,
};
use crate::tools::http::Encoding;

/// Takes the operation's body into the request. The error says why there can be no tool.
pub(super) fn take(
    place: &Place<'_>,
    parts: &mut Parts,
    schemas: &mut Schemas<'_>,
) -> Result<(), String> {
    let Some(declared) = place.operation.get("requestBody") else { return Ok(()) };
    let declared = place.refs.resolve(declared)?;
    let required = declared.get("required") == Some(&Value::Bool(true));
    if !matches!(place.method, "post" | "put" | "patch") {
        return left_out(required, "only POST, PUT and PATCH send a body", schemas);
    }
    let content = declared.get("content").and_then(Value::as_object);
    let kinds: Vec<&String> = content.into_iter().flat_map(|all| all.keys()).collect();
    let found = content.into_iter().flatten().filter_map(|(kind, media)| {
        let encoding = encoding(kind)?;
        Some((encoding, media))
    });
    let Some((encoding, media)) = found.min_by_key(|(encoding, _)| *encoding == Encoding::Form)
    else {
        let kinds: Vec<&str> = kinds.into_iter().map(String::as_str).collect();
        let why = format!("a body of {} cannot be sent", kinds.join(" or "));
        return left_out(required, &why, schemas);
    };
    let mut schema =
        media.get("schema").map_or_else(|| json!({}), |schema| schemas.write_out(schema));
    if let (Some(fields), Some(text)) =
        (schema.as_object_mut(), declared.get("description").and_then(Value::as_str))
    {
        fields.entry("description").or_insert_with(|| json!(text.replace('\0', "")));
    }
    let argument = parts.arguments.add("body", schema, required);
    parts.body = Some(json!(format!("{{{argument}}}")));
    parts.encoding = encoding;
    Ok(())
}

fn left_out(required: bool, why: &str, schemas: &mut Schemas<'_>) -> Result<(), String> {
    if required {
        return Err(why.to_owned());
    }
    schemas.warn(&format!("{why}: it is left out"));
    Ok(())
}

fn encoding(kind: &str) -> Option<Encoding> {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") || kind == "*/*" {
        Some(Encoding::Json)
    } else {
        (kind == "application/x-www-form-urlencoded").then_some(Encoding::Form)
    }
}
