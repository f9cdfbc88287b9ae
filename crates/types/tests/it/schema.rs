//! `schemas/receipt.schema.json` says what receipts are, no more and no less.

use serde_json::Value;

/// The part of JSON Schema (draft 2020-12) that the schema uses.
fn errors(schema: &Value, root: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("no {name}"));
        return errors(target, root, value, at);
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let fitting = choices.iter().filter(|c| errors(c, root, value, at).is_empty()).count();
        return if fitting == 1 { Vec::new() } else { vec![format!("{at}: {fitting} of the choices fit")] };
    }
    let mut out = Vec::new();
    if schema.get("const").is_some_and(|c| c != value) {
        out.push(format!("{at}: is not {}", schema["const"]));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|e| !e.contains(value)) {
        out.push(format!("{at}: is none of {}", schema["enum"]));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = match &schema["type"] {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    };
    if schema.get("type").is_some() && !types.contains(&kind.into()) {
        return vec![format!("{at}: is {kind}, not {}", schema["type"])];
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (i, item) in list.iter().enumerate() {
            out.extend(errors(items, root, item, &format!("{at}/{i}")));
        }
    }
    let (Some(known), Some(object)) =
        (schema.get("properties").and_then(Value::as_object), value.as_object())
    else {
        return out;
    };
    for name in schema["required"].as_array().unwrap() {
        if !object.contains_key(name.as_str().unwrap()) {
            out.push(format!("{at}: has no {name}"));
        }
    }
    for (name, inner) in object {
        match known.get(name) {
            Some(schema) => out.extend(errors(schema, root, inner, &format!("{at}/{name}"))),
            None => out.push(format!("{at}: {name} is unknown")),
        }
    }
    out
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../../schemas/receipt.schema.json")).unwrap()
}

fn receipts() -> [Value; 5] {
    [
        include_str!("../fixtures/receipt-envelope.json"),
        include_str!("../fixtures/receipt-jws.json"),
        include_str!("../fixtures/receipt-token.json"),
        include_str!("../fixtures/receipt-trigger.json"),
        include_str!("../fixtures/receipt-session.json"),
    ]
    .map(|text| serde_json::from_str(text).unwrap())
}

#[test]
fn golden_receipts_have_exactly_the_properties_of_the_schema() {
    let schema = schema();
    for receipt in receipts() {
        assert_eq!(errors(&schema, &schema, &receipt, ""), Vec::<String>::new());
    }
}

#[test]
fn every_object_of_the_schema_is_closed_and_used() {
    fn walk(schema: &Value, at: &str, names: &mut Vec<String>) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            assert_eq!(schema["additionalProperties"], false, "{at}");
            assert!(schema["required"].is_array(), "{at}");
            names.extend(properties.keys().cloned());
        }
        match schema {
            Value::Object(o) => o.iter().for_each(|(k, v)| walk(v, &format!("{at}/{k}"), names)),
            Value::Array(a) => a.iter().for_each(|v| walk(v, at, names)),
            _ => {}
        }
    }
    let mut names = Vec::new();
    walk(&schema(), "", &mut names);
    let all = receipts().map(|r| r.to_string()).concat();
    for name in names {
        assert!(all.contains(&format!("\"{name}\":")), "no golden receipt has {name:?}");
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = schema();
    let [good, ..] = receipts();
    for (path, value) in [
        ("/version", Value::from(2)),
        ("/message/form", "mail".into()),
        ("/ordering/index", 1.into()),
        ("/execution/outputs/0/kind", "unknown".into()),
        ("/genesis/members", Value::Null),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        assert_ne!(errors(&schema, &schema, &bad, ""), Vec::<String>::new(), "{path}");
        let read = w3bstream_types::receipt::Receipt::from_json(bad.to_string().as_bytes());
        assert!(read.is_err(), "{path}");
    }
}
