//! The part of JSON Schema that the documents use.

use serde_json::Value;

/// Expects the value to be as the schema says.
pub fn assert_valid(schema: &Value, value: &Value) {
    for (word, wanted) in schema.as_object().expect("a schema") {
        match word.as_str() {
            "$schema" | "description" => {}
            "type" => {
                let names = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                assert!(names.iter().any(|name| name == type_of(value)), "{value}: no {wanted}");
            }
            "enum" => assert!(wanted.as_array().expect("values").contains(value), "{value}"),
            "required" => {
                for name in wanted.as_array().expect("names") {
                    assert!(value.get(name.as_str().expect("a name")).is_some(), "{value}: {name}");
                }
            }
            "additionalProperties" => {
                assert_eq!(wanted, false);
                for name in value.as_object().expect("an object").keys() {
                    assert!(schema["properties"].get(name).is_some(), "{value}: {name}");
                }
            }
            "properties" => {
                for (name, schema) in wanted.as_object().expect("schemas") {
                    value.get(name).into_iter().for_each(|value| assert_valid(schema, value));
                }
            }
            "items" => {
                value
                    .as_array()
                    .expect("a list")
                    .iter()
                    .for_each(|item| assert_valid(wanted, item));
            }
            word => panic!("the kit does not know {word}"),
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
