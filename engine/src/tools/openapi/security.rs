//! Security schemes as places for a credential.

use serde_json::Value;

use super::{operation::Place as Operation, refs::Refs};
use crate::tools::http::{CredentialPlace, Place};

/// Where the operation's credential goes. Of alternatives the first that can be served is taken.
pub(super) fn credential(
    operation: &Operation<'_>,
    warnings: &mut Vec<String>,
) -> Option<CredentialPlace> {
    let declared =
        operation.operation.get("security").or_else(|| operation.document.get("security"));
    let alternatives = declared.and_then(Value::as_array)?;
    let mut unknown = Vec::new();
    for alternative in alternatives.iter().filter_map(Value::as_object) {
        let names: Vec<&String> = alternative.keys().collect();
        let places = names.iter().map(|name| place(operation.document, *operation.refs, name));
        match places.collect::<Result<Vec<_>, String>>() {
            Ok(places) => {
                if let [_, _, ..] = places.as_slice() {
                    let names = names.iter().map(|name| name.as_str()).collect::<Vec<_>>();
                    warnings.push(format!(
                        "wants {} together; only the first gets a credential",
                        names.join(" and ")
                    ));
                }
                return places.into_iter().next();
            }
            Err(why) => unknown.push(why),
        }
    }
    warnings.extend(unknown);
    None
}

fn place(document: &Value, refs: Refs<'_>, name: &str) -> Result<CredentialPlace, String> {
    let schemes = document.pointer("/components/securitySchemes").and_then(Value::as_object);
    let scheme = schemes.and_then(|schemes| schemes.get(name));
    let scheme = scheme.ok_or_else(|| format!("the security scheme `{name}` is not described"))?;
    // The reference borrows from the document as well.
    let found = scheme.get("$ref").and_then(Value::as_str).map(|reference| refs.find(reference));
    let scheme = found.transpose()?.unwrap_or(scheme);
    let text = |field: &str| scheme.get(field).and_then(Value::as_str).unwrap_or_default();
    let at = |place, name: Option<&str>| CredentialPlace {
        place,
        name: name.map(str::to_owned),
        prefix: String::new(),
        field: None,
        username_field: None,
    };
    match (text("type"), text("in"), text("scheme").to_ascii_lowercase().as_str()) {
        ("apiKey", "header", _) if text("name").eq_ignore_ascii_case("authorization") => {
            Ok(at(Place::Header, Some("Authorization")))
        }
        ("apiKey", "header", _) => Ok(at(Place::Header, Some(text("name")))),
        ("apiKey", "query", _) => Ok(at(Place::Query, Some(text("name")))),
        ("http", _, "bearer") | ("oauth2" | "openIdConnect", ..) => Ok(at(Place::Bearer, None)),
        ("http", _, "basic") => Ok(at(Place::Basic, None)),
        _ => Err(format!("the security scheme `{name}` is of a kind that cannot be served")),
    }
}
