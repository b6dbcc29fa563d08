//! Parameters of path, query and headers as arguments, each with a name that every provider takes.

use serde_json::{Map, Value, json};

use crate::tools::http::looks_secret;

use super::{
    names::{clean, numbered, shortened},
    operation::{Parts, Place, object},
    schema::Schemas,
};

/// What belongs to the connection, or to the description itself.
const IGNORED_HEADERS: [&str; 3] = ["accept", "content-type", "authorization"];

/// The tool's arguments so far.
#[derive(Default)]
pub(super) struct Arguments {
    properties: Map<String, Value>,
    required: Vec<String>,
}

impl Arguments {
    /// Adds one; gives the name it got.
    pub(super) fn add(&mut self, wanted: &str, schema: Value, required: bool) -> String {
        let wanted = match clean(wanted) {
            name if name.is_empty() => "argument".to_owned(),
            name => shortened(&name),
        };
        let name = numbered(&wanted, |name| self.properties.contains_key(name));
        self.properties.insert(name.clone(), schema);
        if required {
            self.required.push(name.clone());
        }
        name
    }

    pub(super) fn schema(&self) -> Value {
        object(self.properties.clone(), &self.required)
    }
}

/// One parameter, read.
struct Parameter<'a> {
    name: &'a str,
    place: &'a str,
    required: bool,
    style: &'a str,
    explode: bool,
    schema: Value,
    /// Its value is JSON text.
    is_json: bool,
}

impl Parts {
    pub(super) fn take_parameters(
        &mut self,
        place: &Place<'_>,
        schemas: &mut Schemas<'_>,
    ) -> Result<(), String> {
        for declared in merged(place, schemas) {
            let parameter = read(declared, schemas);
            match parameter.place {
                "path" => self.path(&parameter)?,
                "query" => self.query(&parameter, schemas)?,
                "header" => self.header(&parameter, schemas),
                other if parameter.required => {
                    return Err(format!("needs `{}` in the {other}", parameter.name));
                }
                other => schemas.warn(&format!("`{}` in the {other} is left out", parameter.name)),
            }
        }
        self.undeclared(schemas);
        Ok(())
    }

    fn path(&mut self, parameter: &Parameter<'_>) -> Result<(), String> {
        if parameter.style != "simple" {
            let Parameter { name, style, .. } = parameter;
            return Err(format!("the path parameter `{name}` has the style `{style}`"));
        }
        let argument = self.arguments.add(parameter.name, parameter.schema.clone(), true);
        self.join_lists(parameter, &argument, ",");
        self.path =
            self.path.replace(&format!("{{{}}}", parameter.name), &format!("{{{argument}}}"));
        Ok(())
    }

    fn query(
        &mut self,
        parameter: &Parameter<'_>,
        schemas: &mut Schemas<'_>,
    ) -> Result<(), String> {
        let Parameter { name, style, explode, .. } = *parameter;
        if !parameter.is_json && is(&parameter.schema, "object") {
            return self.spread(parameter, schemas);
        }
        let argument = self.arguments.add(name, parameter.schema.clone(), parameter.required);
        match (style, explode) {
            ("spaceDelimited", _) => self.join_lists(parameter, &argument, " "),
            ("pipeDelimited", _) => self.join_lists(parameter, &argument, "|"),
            (_, false) => self.join_lists(parameter, &argument, ","),
            (_, true) => {}
        }
        self.query.push(format!("{}={{{argument}}}", encoded(name)));
        Ok(())
    }

    /// An object in the query: each of its members is a parameter of its own.
    fn spread(
        &mut self,
        parameter: &Parameter<'_>,
        schemas: &mut Schemas<'_>,
    ) -> Result<(), String> {
        let Parameter { name, style, explode, required, .. } = *parameter;
        let members = parameter.schema.get("properties").and_then(Value::as_object);
        let deep = style == "deepObject";
        let Some(members) = members.filter(|all| !all.is_empty() && (deep || explode)) else {
            if required {
                return Err(format!(
                    "the query parameter `{name}` is an object of an unknown shape"
                ));
            }
            schemas.warn(&format!("the query parameter `{name}` is an object: left out"));
            return Ok(());
        };
        let needs = parameter.schema.get("required").and_then(Value::as_array);
        for (member, schema) in members {
            let needed = needs.is_some_and(|needs| needs.contains(&json!(member)));
            let key = if deep { format!("{name}[{member}]") } else { member.clone() };
            let argument = self.arguments.add(&key, schema.clone(), required && needed);
            self.query.push(format!("{}={{{argument}}}", encoded(&key)));
        }
        Ok(())
    }

    fn header(&mut self, parameter: &Parameter<'_>, schemas: &mut Schemas<'_>) {
        let lower = parameter.name.to_ascii_lowercase();
        if IGNORED_HEADERS.contains(&lower.as_str()) {
            return;
        }
        if looks_secret(&lower) {
            let name = parameter.name;
            schemas.warn(&format!(
                "the header `{name}` looks like a secret: attach a credential instead"
            ));
            return;
        }
        if matches!(lower.as_str(), "idempotency-key" | "x-idempotency-key") {
            self.idempotency_header = Some(parameter.name.to_owned());
            return;
        }
        let argument =
            self.arguments.add(parameter.name, parameter.schema.clone(), parameter.required);
        self.join_lists(parameter, &argument, ",");
        self.headers.insert(parameter.name.to_owned(), format!("{{{argument}}}"));
    }

    fn join_lists(&mut self, parameter: &Parameter<'_>, argument: &str, between: &str) {
        if !parameter.is_json && is(&parameter.schema, "array") {
            self.join.insert(argument.to_owned(), between.to_owned());
        }
    }

    /// What stands in braces in the path without having been declared.
    fn undeclared(&mut self, schemas: &mut Schemas<'_>) {
        let mut path = String::new();
        let mut rest = std::mem::take(&mut self.path);
        let known = self.arguments.properties.clone();
        while let Some((before, inside)) = rest.split_once('{') {
            let Some((name, after)) = inside.split_once('}') else { break };
            let argument = if known.contains_key(name) {
                name.to_owned()
            } else {
                schemas.warn(&format!("the path parameter `{name}` is not described"));
                self.arguments.add(name, json!({ "type": "string" }), true)
            };
            path.push_str(before);
            path.push('{');
            path.push_str(&argument);
            path.push('}');
            rest = after.to_owned();
        }
        self.path = path + &rest;
    }
}

/// The path's parameters and the operation's; of two with one name and place the operation's.
fn merged<'a>(place: &Place<'a>, schemas: &mut Schemas<'_>) -> Vec<&'a Value> {
    let mut all: Vec<&Value> = Vec::new();
    for level in [place.item, place.operation] {
        for declared in level.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            match place.refs.resolve(declared) {
                Ok(found) => {
                    let same = |other: &&Value| {
                        other.get("name") == found.get("name") && other.get("in") == found.get("in")
                    };
                    all.retain(|other| !same(other));
                    all.push(found);
                }
                Err(why) => schemas.warn(&why),
            }
        }
    }
    all
}

fn read<'a>(declared: &'a Value, schemas: &mut Schemas<'_>) -> Parameter<'a> {
    let text = |field: &str| declared.get(field).and_then(Value::as_str);
    let content = declared.get("content").and_then(Value::as_object);
    let of_content = content.and_then(|all| all.values().next()).and_then(|one| one.get("schema"));
    let schema = declared.get("schema").or(of_content);
    let mut schema =
        schema.map_or_else(|| json!({ "type": "string" }), |schema| schemas.write_out(schema));
    if let (Some(fields), Some(description)) = (schema.as_object_mut(), text("description")) {
        fields.insert("description".into(), json!(description.replace('\0', "")));
    }
    let place = text("in").unwrap_or_default();
    let style = text("style").unwrap_or(if place == "query" { "form" } else { "simple" });
    Parameter {
        name: text("name").unwrap_or_default(),
        place,
        required: declared.get("required") == Some(&Value::Bool(true)),
        style,
        explode: declared.get("explode").and_then(Value::as_bool).unwrap_or(style == "form"),
        schema,
        is_json: content.is_some(),
    }
}

/// Whether a schema is of a type, be it one of several.
fn is(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == kind,
        Some(Value::Array(some)) => some.contains(&json!(kind)),
        _ => kind == "object" && schema.get("properties").is_some(),
    }
}

/// A name as the key of a query's pair in a template.
fn encoded(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect()
}
