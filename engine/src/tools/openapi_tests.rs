//! A document of the size and the sins of real ones.

use serde_json::json;
use shared_models::Effect;

use super::*;

fn shop() -> Value {
    parse(include_str!("openapi/shop.yaml")).unwrap()
}

fn described(document: &Value, wanted: &Wanted) -> Vec<DescribedOperation> {
    describe(document, wanted).unwrap().operations
}

fn all() -> Vec<DescribedOperation> {
    described(&shop(), &Wanted::default())
}

fn of<'a>(operations: &'a [DescribedOperation], key: &str) -> &'a DescribedOperation {
    operations.iter().find(|operation| operation.key == key).unwrap_or_else(|| panic!("no {key}"))
}

fn tool<'a>(operations: &'a [DescribedOperation], key: &str) -> &'a ToolFields {
    of(operations, key).tool.as_ref().unwrap_or_else(|why| panic!("{key}: {why}"))
}

#[test]
fn every_operation_is_a_tool_or_says_why_not() {
    let operations = all();
    let made = operations.iter().filter(|operation| operation.tool.is_ok()).count();
    let names: BTreeSet<&str> = operations
        .iter()
        .filter_map(|operation| operation.tool.as_ref().ok())
        .map(|tool| tool.name.as_str())
        .collect();

    assert!(operations.len() >= 40, "{}", operations.len());
    assert_eq!(names.len(), made, "names are unique");
    assert!(names.iter().all(|name| crate::tools::is_tool_name(name)), "{names:?}");
    let skipped: Vec<(&str, &str)> = operations
        .iter()
        .filter_map(|operation| {
            Some((operation.key.as_str(), operation.tool.as_ref().err()?.as_str()))
        })
        .collect();
    let reasons = [
        ("OPTIONS /products", "OPTIONS is nothing a tool does"),
        ("POST /products/{productId}/image", "multipart/form-data"),
        ("GET /matrix/{point}", "style `matrix`"),
        ("GET /session", "needs `sid` in the cookie"),
        ("GET /search/deep", "an object of an unknown shape"),
    ];
    assert_eq!(skipped.len(), reasons.len(), "{skipped:?}");
    for (key, reason) in reasons {
        assert!(
            skipped.iter().any(|(k, why)| *k == key && why.contains(reason)),
            "{key}: {skipped:?}"
        );
    }
}

#[test]
fn the_method_says_what_a_repeat_does_unless_there_is_a_key() {
    let operations = all();
    let table = [
        ("GET /products", Effect::Read),
        ("HEAD /products/{productId}", Effect::Read),
        ("PUT /products/{productId}", Effect::Idempotent),
        ("DELETE /products/{productId}", Effect::Idempotent),
        ("POST /products", Effect::Unsafe),
        ("PATCH /products/{productId}", Effect::Unsafe),
        ("POST /payments", Effect::Keyed),
    ];
    for (key, effect) in table {
        assert_eq!(tool(&operations, key).effect_in_force(), effect, "{key}");
    }
    let payment = tool(&operations, "POST /payments");
    assert_eq!(payment.config["idempotency_header"], "Idempotency-Key");
    assert!(payment.parameters["properties"].get("Idempotency-Key").is_none());
}

#[test]
fn parameters_become_arguments_with_names_that_every_provider_takes() {
    let operations = all();
    let list = tool(&operations, "GET /products");
    assert_eq!(
        list.config["url"],
        "https://eu.shop.example.com/v2/products?limit={limit}&filter%5Bcolour%5D={filter_colour}\
         &filter%5Bsize%5D={filter_size}&ids={ids}&tags={tags}&%24top={top}&where={where}"
    );
    assert_eq!(list.config["headers"]["X-Tenant"], "{X-Tenant}");
    assert_eq!(list.config["join"], json!({ "ids": ",", "tags": "|" }));
    assert_eq!(list.parameters["properties"]["limit"]["maximum"], 100);
    assert_eq!(list.parameters["additionalProperties"], false);
    assert!(list.parameters["properties"].get("Authorization").is_none());

    let compared = tool(&operations, "GET /products/{productId}/compare/{other-id}");
    assert_eq!(
        compared.config["url"],
        "https://eu.shop.example.com/v2/products/{productId}/compare/{other-id}?productId={productId_2}"
    );
    assert_eq!(compared.parameters["required"], json!(["productId", "other-id"]));
    let undeclared = of(&operations, "GET /legacy/{code}.json");
    assert!(
        undeclared.warnings[0].contains("`code` is not described"),
        "{:?}",
        undeclared.warnings
    );
}

#[test]
fn bodies_are_written_out_and_cycles_end() {
    let operations = all();
    let create = tool(&operations, "POST /products");
    let body = &create.parameters["properties"]["body"];
    assert_eq!(
        body["properties"]["price"]["properties"]["currency"]["enum"],
        json!(["CHF", "EUR"])
    );
    assert_eq!(body["properties"]["note"]["type"], json!(["string", "null"]));
    assert_eq!(body["properties"]["weight"]["exclusiveMinimum"], 0);
    assert!(body["properties"].get("id").is_none(), "what only the server sets is left out");
    assert_eq!(body["required"], json!(["name"]));
    assert_eq!(create.parameters["required"], json!(["body"]));

    let tree = of(&operations, "POST /categories");
    assert!(tree.tool.is_ok());
    assert!(
        tree.warnings.iter().any(|warning| warning.contains("contains itself")),
        "{:?}",
        tree.warnings
    );
    let wide = of(&operations, "POST /wide");
    assert!(
        wide.warnings.iter().any(|warning| warning.contains("too large")),
        "{:?}",
        wide.warnings
    );
    assert!(wide.tool.as_ref().unwrap().parameters.to_string().len() < 200_000);

    let form = tool(&operations, "POST /login-links");
    assert_eq!(
        (&form.config["encoding"], &form.config["body"]),
        (&json!("form"), &json!("{body}"))
    );
}

#[test]
fn security_schemes_are_places_for_a_credential() {
    let operations = all();
    let place = |key| tool(&operations, key).config["credential"].clone();

    assert_eq!(place("GET /products")["in"], "bearer");
    assert_eq!(place("GET /reports")["name"], "X-Api-Key");
    assert_eq!(place("GET /reports/old")["in"], "query");
    assert_eq!(place("GET /admin/users")["in"], "basic");
    assert_eq!(place("GET /status"), Value::Null);
}

#[test]
fn operations_are_chosen_by_id_tag_path_and_method() {
    let wanted = Wanted {
        include: vec!["orders".into(), "GET /products*".into()],
        exclude: vec!["*cancel*".into()],
        prefix: "shop_".into(),
        base_url: Some("https://test.example.com/api/".parse().unwrap()),
        ..Wanted::default()
    };
    let operations = described(&shop(), &wanted);

    assert!(
        operations.iter().all(|operation| operation.key.starts_with("GET /products")
            || operation.key.contains("/orders"))
    );
    assert!(!operations.iter().any(|operation| operation.key.contains("cancel")));
    let order = tool(&operations, "GET /orders/{orderId}");
    assert_eq!(order.name, "shop_getOrder");
    assert_eq!(order.config["url"], "https://test.example.com/api/orders/{orderId}");
}

#[test]
fn names_are_made_to_fit_and_stay_the_same() {
    let operations = all();
    let long = &tool(&operations, "GET /very-long").name;

    assert_eq!(long.len(), 64);
    assert_eq!(*long, tool(&all(), "GET /very-long").name);
    assert_eq!(tool(&operations, "GET /orders/{orderId}").name, "getOrder");
    assert_eq!(tool(&operations, "GET /v1/orders/{orderId}").name, "getOrder_2");
    assert_eq!(tool(&operations, "GET /ünïcode").name, "get_n_code");
}

#[test]
fn what_is_no_description_is_refused() {
    let wanted = Wanted::default();
    for text in
        ["", "[]", "a: [", "{\"a\":", "- 1", "&a [*a]", "{\"swagger\": \"2.0\"}", "openapi: 2.9"]
    {
        let refused = parse(text).and_then(|document| describe(&document, &wanted).map(drop));
        assert!(refused.is_err(), "{text}");
    }
    let relative = json!({ "openapi": "3.1.0", "paths": { "/x": { "get": {} } } });
    assert!(described(&relative, &wanted)[0].tool.as_ref().unwrap_err().contains("base_url"));
    let source = Some("https://api.example.com/docs/openapi.json".parse().unwrap());
    let found = described(&relative, &Wanted { source, ..Wanted::default() });
    assert_eq!(found[0].tool.as_ref().unwrap().config["url"], "https://api.example.com/x");
}

#[test]
fn yaml_is_read_as_people_write_it() {
    let yaml = "openapi: 3.0\ninfo: {version: 1.0}\nservers: [{url: https://a.example.com}]\npaths:\n  /x:\n    get:\n      \
                summary: |\n        Two\n        lines\n      responses:\n        200: {description: ok}\n        default: \
                {description: no}\n";
    let operations = described(&parse(yaml).unwrap(), &Wanted::default());
    assert_eq!(tool(&operations, "GET /x").description, "Two\nlines");
}

#[test]
fn a_document_cannot_lead_calls_to_another_place_or_bring_in_another_document() {
    let evil = json!({ "openapi": "3.0.0", "servers": [{ "url": "https://{host}/", "variables": {} }],
        "paths": { "/a": { "get": {} }, "/b": { "get": { "servers": [{ "url": "file:///etc" }] } },
            "/../c": { "get": { "servers": [{ "url": "https://ok.example.com" }] } },
            "/d": { "get": { "servers": [{ "url": "https://me:pw@ok.example.com" }] } },
            "/e": { "$ref": "https://evil.example.com/paths.json" },
            "/f": { "post": { "servers": [{ "url": "https://ok.example.com" }],
                "requestBody": { "$ref": "file:///etc/passwd" } } } } });
    let operations = described(&evil, &Wanted::default());

    assert_eq!(operations.len(), 5);
    assert!(operations.iter().all(|operation| operation.tool.is_err()), "{operations:?}");
}

#[test]
fn patterns_with_stars_fit_what_they_say() {
    let table = [
        ("GET /a/*", "GET /a/b", true),
        ("*", "", true),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c", false),
        ("*x", "axx", true),
        ("a", "ab", false),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}
