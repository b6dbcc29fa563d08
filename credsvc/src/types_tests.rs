//! The seeded types, and what is said of values that do not fit.

use serde_json::{Value, json};

use super::*;

fn refused(name: &str, fields: Value) -> Vec<String> {
    let types = Types::seeded().unwrap();
    let mut errors = Vec::new();
    types.get(name).unwrap().check(&serde_json::from_value(fields).unwrap(), &mut errors);
    errors.into_iter().map(|error| format!("{} {}", error.pointer, error.message)).collect()
}

#[test]
fn the_types_that_are_promised_are_there() {
    let types = Types::seeded().unwrap();

    for name in [
        "openai_api",
        "anthropic_api",
        "huggingface_api",
        "postgres",
        "mysql",
        "mongodb",
        "redis",
        "elasticsearch",
        "aws",
        "azure",
        "google_cloud",
        "slack_api",
        "discord_webhook",
        "telegram_api",
        "twilio_api",
        "sendgrid_api",
        "github_api",
        "gmail_oauth2",
        "hubspot_oauth2",
        "hubspot_private_app",
        "http_bearer",
        "http_basic",
        "generic",
    ] {
        assert!(types.get(name).is_some(), "{name}");
    }
    for kind in types.all() {
        let secret = kind.form().iter().any(|field| field.secret);
        let typed = kind.auth == Auth::Static && kind.name != GENERIC;
        assert_eq!(secret, typed || kind.auth == Auth::ClientCredentials, "{}", kind.name);
    }
}

#[test]
fn every_error_is_said_by_field_and_no_value_is_quoted() {
    let said = refused("postgres", json!({ "host": "", "port": "s3cr3t", "sslmode": "s3cr3t" }));

    assert_eq!(said.len(), 4, "{said:?}");
    for (pointer, part) in [
        ("/credentials/host ", "must not be empty"),
        ("/credentials/username ", "is needed by this type"),
        ("/credentials/port ", "integer"),
        ("/credentials/sslmode ", "prefer"),
    ] {
        assert!(
            said.iter().any(|line| line.starts_with(pointer) && line.contains(part)),
            "{pointer}{part}: {said:?}"
        );
    }
    assert!(!said.join("").contains("s3cr3t"), "{said:?}");
}

#[test]
fn more_fields_than_a_type_needs_are_fine() {
    assert_eq!(refused("http_bearer", json!({ "token": "t", "note": { "a": 1 } })), [""; 0]);
    assert_eq!(refused("generic", json!({ "anything": 1 })), [""; 0]);
}

#[test]
fn a_form_asks_for_needed_fields_first_and_says_which_are_secret() {
    let types = Types::seeded().unwrap();

    let form = types.get("twilio_api").unwrap().definition.form();

    let shown: Vec<_> = form.iter().map(|f| (&*f.name, &*f.label, f.required, f.secret)).collect();
    assert_eq!(
        shown,
        [
            ("account_sid", "Account SID", true, false),
            ("auth_token", "Auth token", true, true),
            ("base_url", "Base URL", false, false),
        ]
    );
}

#[test]
fn a_schema_that_refers_elsewhere_is_refused() {
    let types = Types::seeded().unwrap();
    let mut definition = types.get("http_bearer").unwrap().definition.clone();

    for schema in [
        json!({ "$ref": "https://example.com/schema.json" }),
        json!({ "$ref": "file:///etc/passwd" }),
        json!({ "type": 7 }),
    ] {
        definition.schema = schema;
        assert!(Kind::new(definition.clone()).is_err(), "{}", definition.schema);
    }
}

#[test]
fn a_template_takes_fields_and_names_the_one_that_is_missing() {
    use secrecy::ExposeSecret as _;
    let fields: Fields = serde_json::from_value(json!({ "a": "1", "n": 2 })).unwrap();

    assert_eq!(fill("x{a}/{n}{", &fields).unwrap().expose_secret(), "x1/2{");
    assert_eq!(fill("{b}", &fields).unwrap_err(), Unfilled("b".into()));
}
