use super::*;

#[test]
fn what_the_dialect_lacks_is_left_out_and_references_are_resolved() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": ["place", "gone"],
        "properties": {
            "place": { "$ref": "#/$defs/Place", "description": "Where." },
            "when": { "type": ["string", "null"], "format": "date-time", "default": null },
            "unit": { "const": "kelvin" },
            "level": { "type": "integer", "enum": [1, 2] },
            "tags": { "type": "array", "uniqueItems": true },
            "who": { "anyOf": [{ "type": "string", "format": "hostname" }, { "type": "null" }] },
            "id": { "oneOf": [{ "type": "string" }, { "type": "integer", "exclusiveMinimum": 0 }] },
        },
        "$defs": { "Place": { "type": "object", "properties": { "lat": { "type": "number" } },
            "patternProperties": { "x": {} } } },
    });

    assert_eq!(
        subset(&schema),
        json!({
            "type": "object",
            "required": ["place"],
            "properties": {
                "place": { "type": "object", "description": "Where.",
                    "properties": { "lat": { "type": "number" } } },
                "when": { "type": "string", "nullable": true, "format": "date-time" },
                "unit": { "type": "string", "enum": ["kelvin"] },
                "level": { "type": "integer" },
                "tags": { "type": "array", "items": { "type": "string" } },
                "who": { "type": "string", "nullable": true },
                "id": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
            },
        })
    );
}

#[test]
fn parts_that_belong_together_become_one() {
    let schema = json!({ "allOf": [
        { "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] },
        { "properties": { "b": { "type": "string" } }, "required": ["b"] },
    ] });
    assert_eq!(
        subset(&schema),
        json!({ "type": "object", "required": ["a", "b"],
            "properties": { "a": { "type": "string" }, "b": { "type": "string" } } })
    );
}

#[test]
fn a_schema_that_refers_to_itself_comes_to_an_end() {
    let schema = json!({ "type": "object", "properties": { "next": { "$ref": "#" } } });
    assert!(subset(&schema).to_string().len() < 2000);
}
