//! The routes as an OpenAPI 3.1 document.

mod operations;
mod schemas;

use serde_json::{Map, Value, json};

use self::operations::{Access, Body, OPERATIONS, Operation};
use self::schemas::schemas;

/// The OpenAPI 3.1 document of these routes.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "W3bstream node, routes of the original's clients",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What clients of the original W3bstream ask a node. A token may also stand bare in the header, or in \
                the query as `authorization`. Who has not logged in is refused before anything else is looked at. Bodies are \
                read as JSON, whatever their type is said to be. The node's own interface is described by /openapi.json.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "login": {
                    "type": "http", "scheme": "bearer",
                    "description": "The token of PUT /srv-applet-mgr/v0/login, or an account's key.",
                },
                "publisher": {
                    "type": "http", "scheme": "bearer",
                    "description": "A publisher's token of the project, or an account's key.",
                },
            },
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn described(operation: &Operation) -> Value {
    let mut out = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": responses(operation),
        "security": match operation.access {
            Access::Login => json!([{"login": []}]),
            Access::Publisher => json!([{}, {"publisher": []}]),
            Access::Anybody => json!([]),
        },
    });
    let content = match operation.body {
        Body::Nothing => return out,
        Body::Json(schema) => json!({"application/json": {"schema": reference(schema)}}),
        Body::Form(schema) => json!({"multipart/form-data": {
            "schema": reference(schema),
            "encoding": {"info": {"contentType": "application/json"}, "file": {"contentType": "application/wasm"}},
        }}),
        Body::Bytes => json!({"application/octet-stream": {"schema": {}}}),
    };
    out["requestBody"] = json!({"required": !matches!(operation.body, Body::Bytes), "content": content});
    out
}

/// Those of the path by their names, and those of the query that it names.
fn parameters(operation: &Operation) -> Vec<Value> {
    let named = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let of_path = named.map(|name| {
        let schema = match name {
            "applet" | "instance" | "publisher" | "strategy" | "cronjob" => reference("Number"),
            "kind" => json!({"enum": ["PROJECT_ENV", "PROJECT_DATABASE", "PROJECT_SIGNED_KEYS"]}),
            "command" => json!({"enum": ["START", "HUNGUP", "STOP"]}),
            "project" | "channel" => json!({"type": "string", "minLength": 1, "pattern": "^[^/+#\\x00]+$"}),
            "message" => json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            _ => json!({"type": "string", "minLength": 1}),
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let of_query = operation.query.iter().map(|(name, about)| {
        let schema = match *name {
            "publisherID" => reference("Number"),
            _ => json!({"type": "string"}),
        };
        let required = *name == "publisherID";
        json!({"name": name, "in": "query", "required": required, "schema": schema, "description": about})
    });
    of_path.chain(of_query).collect()
}

fn responses(operation: &Operation) -> Value {
    let (status, schema) = operation.gives;
    let mut all = Map::new();
    let good = match schema {
        None => json!({"description": "Done."}),
        Some("text") => json!({
            "description": "The answer.", "content": {"text/plain": {"schema": {"type": "string"}}},
        }),
        Some(schema) => json!({
            "description": "The answer.", "content": {"application/json": {"schema": reference(schema)}},
        }),
    };
    all.insert(status.to_string(), good);
    // Who calls what is neither management nor an event is answered as the later generations did.
    let error = if operation.path.starts_with("/srv-applet-mgr/") { "Error" } else { "LaterError" };
    let mut statuses = vec![400, 405, 500, 503];
    if operation.access != Access::Anybody {
        statuses.push(401);
    }
    if operation.path.contains('{') {
        statuses.push(404);
    }
    if !matches!(operation.body, Body::Nothing) {
        statuses.push(413);
    }
    statuses.extend(operation.errors);
    for status in statuses {
        let about = match status {
            400 => "The request cannot be read, or asks for what cannot be.",
            401 => "Not logged in, or nobody's token.",
            403 => "Not allowed.",
            404 => "There is none, or it is somebody else's.",
            405 => "The path has no such method.",
            409 => "It is there already, with something else in it.",
            413 => "Too many bytes.",
            500 => "The node failed.",
            503 => "The node cannot do it now: send it again.",
            _ => "No answer in time: send it again with the same id.",
        };
        let mut answer =
            json!({"description": about, "content": {"application/json": {"schema": reference(error)}}});
        if status == 503 {
            let seconds =
                json!({"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}});
            answer["headers"] = json!({"Retry-After": seconds});
        }
        all.insert(status.to_string(), answer);
    }
    all.into()
}
