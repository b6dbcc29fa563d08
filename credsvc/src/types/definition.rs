//! What a type says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::FieldError;

/// A type of credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialType {
    /// How credentials name it: lowercase letters, digits and `_`.
    pub(crate) name: String,
    /// How people call it.
    pub(crate) display_name: String,
    /// What it is among: `ai`, `database`, `messaging`…
    pub(crate) category: String,
    /// The name of an icon.
    #[serde(default)]
    pub(crate) icon: Option<String>,
    /// How a credential of it comes to be.
    #[serde(default)]
    #[schema(required = false)]
    pub(crate) auth: Auth,
    /// The OAuth provider, for `oauth2`.
    #[serde(default)]
    pub(crate) provider: Option<String>,
    /// A JSON Schema of its fields; `title` is a field's label, `description` its help, `writeOnly` says it is secret.
    #[schema(value_type = Object)]
    pub(crate) schema: Value,
    /// How calls are made with it.
    #[serde(default)]
    pub(crate) call: Option<CallSpec>,
    /// How it is tried.
    #[serde(default)]
    pub(crate) test: Option<TestSpec>,
    /// Where its provider says how to get one.
    #[serde(default)]
    pub(crate) docs_url: Option<String>,
}

/// How a credential comes to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Auth {
    /// Somebody types it in.
    #[default]
    Static,
    /// Somebody connects an account (authorization code); the access token is renewed by us.
    Oauth2,
    /// A client of its own gets access tokens (client credentials); they are renewed by us.
    ClientCredentials,
}

/// How calls are made. `{field}` in a text stands for that field of the credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallSpec {
    /// The API's address, unless the credential has a field `base_url`.
    #[serde(default)]
    pub(crate) base_url: Option<String>,
    /// Where the secret goes.
    pub(crate) inject: Inject,
    /// More headers, none of them secret.
    #[serde(default)]
    #[schema(required = false)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// Where the secret goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "in", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Inject {
    /// `Authorization: Bearer …`.
    Bearer {
        /// The secret.
        value: String,
    },
    /// A header.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// `Authorization: Basic …`.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: String,
    },
    /// It is in the URL or the body.
    Nowhere {},
}

/// How a credential is tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum TestSpec {
    /// A request to the provider's cheapest identity endpoint; passed when it answers 2xx.
    Http {
        /// `GET` unless said.
        #[serde(default)]
        method: Option<String>,
        /// Behind the base URL.
        path: String,
        /// A form to send.
        #[serde(default)]
        #[schema(required = false)]
        form: BTreeMap<String, String>,
        /// A JSON pointer into the answer that must be `true`.
        #[serde(default)]
        ok: Option<String>,
    },
    /// Connect, log in, ask for nothing.
    Postgres {},
    /// Connect, log in, ping.
    Redis {},
    /// Ask AWS who this is (a signed request).
    Aws {},
    /// Get an access token.
    Token {},
}

/// A field as a form asks for it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct FormField {
    pub(crate) name: String,
    pub(crate) label: String,
    help: Option<String>,
    /// Not to be shown while it is typed.
    pub(crate) secret: bool,
    pub(crate) required: bool,
    /// `string`, `integer`, `number`, `boolean`, `array` or `object`.
    #[serde(rename = "type")]
    kind: String,
    #[schema(value_type = Option<Object>)]
    default: Option<Value>,
    /// The values to choose from.
    #[schema(value_type = Vec<Object>)]
    options: Vec<Value>,
}

impl CredentialType {
    /// The fields of a form, needed ones first.
    pub(crate) fn form(&self) -> Vec<FormField> {
        let needed: Vec<&str> = self.schema["required"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let empty = Map::new();
        let properties = self.schema["properties"].as_object().unwrap_or(&empty);
        let asked = |name: &&String| {
            // What comes with a connection is not typed in.
            self.auth != Auth::Oauth2 || !matches!(name.as_str(), "access_token" | "refresh_token")
        };
        let mut names: Vec<&String> = properties.keys().filter(asked).collect();
        names.sort_by_key(|name| needed.iter().position(|n| n == name).unwrap_or(usize::MAX));
        let field = |name: &String| FormField::new(name, &properties[name], &needed);
        names.into_iter().map(field).collect()
    }

    /// Says what is wrong with a type that a tenant wants to have.
    pub(crate) fn check(&self, errors: &mut Vec<FieldError>) {
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(named) {
            errors.push(FieldError::new("/name", "1 to 64 of a-z, 0-9 and _"));
        }
        for (pointer, text) in
            [("/display_name", &self.display_name), ("/category", &self.category)]
        {
            if text.trim().is_empty() || text.chars().count() > 100 || text.contains('\0') {
                errors.push(FieldError::new(pointer, "1 to 100 characters without NUL"));
            }
        }
        if self.auth != Auth::Static || self.provider.is_some() {
            let why = "a tenant's own type is static; connect with `oauth2` instead";
            errors.push(FieldError::new("/auth", why));
        }
        if self.schema["type"] != "object" {
            errors.push(FieldError::new("/schema/type", "must be `object`"));
        }
        if let Some(docs) = &self.docs_url
            && !docs.starts_with("https://")
        {
            errors.push(FieldError::new("/docs_url", "must begin with https://"));
        }
        let text = serde_json::to_string(self).unwrap_or_default();
        if text.len() > 32 * 1024 || text.contains("\\u0000") {
            errors.push(FieldError::new("", "at most 32 KiB of JSON without NUL"));
        }
    }
}

impl FormField {
    fn new(name: &str, property: &Value, needed: &[&str]) -> Self {
        let text = |key: &str| property[key].as_str().map(str::to_owned);
        Self {
            name: name.to_owned(),
            label: text("title").unwrap_or_else(|| name.replace('_', " ")),
            help: text("description"),
            secret: property["writeOnly"] == true,
            required: needed.contains(&name),
            kind: text("type").unwrap_or_else(|| "string".into()),
            default: property.get("default").cloned(),
            options: property["enum"].as_array().cloned().unwrap_or_default(),
        }
    }
}
