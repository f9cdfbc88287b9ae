//! What bodies and answers are made of.

use serde_json::{Map, Value, json};

use super::reference;

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

/// Every member is always there.
fn whole(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn list(of: &str) -> Value {
    whole(
        json!({"data": {"type": "array", "items": reference(of)}, "total": {"type": "integer", "minimum": 0}}),
    )
}

fn array(of: &str) -> Value {
    json!({"type": "array", "items": reference(of)})
}

fn text() -> Value {
    json!({"type": "string"})
}

pub(super) fn schemas() -> Value {
    let mut all = Map::new();
    for part in [basics(), accounts(), projects(), applets(), publishers(), events(), later()] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    all.into()
}

fn basics() -> Value {
    json!({
        "Anything": {},
        "Number": {
            "type": "string", "pattern": "^[0-9]{1,20}$", "description": "A number of this node, as a text.",
        },
        "Time": {"type": "string", "format": "date-time"},
        "Error": whole(json!({
            "key": text(), "code": {"type": "integer", "description": "The status and six zeros."}, "msg": text(),
            "desc": {"type": "string", "description": "What is wrong, and what to do."}, "canBeTalk": {"type": "boolean"},
            "id": text(), "sources": {"type": "array", "items": text()}, "fields": {"type": "array"},
        })),
        "LaterError": whole(json!({"error": text()})),
    })
}

fn accounts() -> Value {
    let key = json!({"name": text(), "createdAt": reference("Time"), "expiredAt": {
        "anyOf": [reference("Time"), {"type": "null"}],
    }});
    let mut made = key.clone();
    made["accessKey"] = text();
    json!({
        "Credentials": object(&["username", "password"], json!({"username": text(), "password": text()})),
        "Session": whole(json!({
            "accountID": reference("Number"), "accountRole": text(), "token": text(), "expireAt": reference("Time"),
            "issuer": text(),
        })),
        "Account": whole(json!({"accountID": reference("Number"), "username": text(), "accountRole": text()})),
        "NewKey": object(&["name"], json!({
            "name": {"type": "string", "minLength": 1, "maxLength": 256},
            "expirationDays": {"type": "integer", "minimum": 0, "maximum": u64::MAX},
        })),
        "Key": whole(key),
        "NewKeyAnswer": whole(made),
        "Keys": list("Key"),
    })
}

fn projects() -> Value {
    let project = json!({
        "projectID": reference("Number"), "accountID": reference("Number"), "name": text(), "channel": text(),
        "nodeProject": text(), "version": text(), "description": text(), "proto": text(),
        "createdAt": reference("Time"), "updatedAt": reference("Time"),
    });
    let mut made = project.clone();
    made["envs"] = reference("Env");
    let detail = json!({"projectID": reference("Number"), "projectName": text(), "applets": array("Applet")});
    json!({
        "NewProject": object(&["name"], json!({
            "name": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}, "version": text(), "description": text(),
            "envs": {"anyOf": [reference("Env"), {"type": "null"}]},
            "database": {"anyOf": [reference("Database"), {"type": "null"}]},
        })),
        "Project": whole(project),
        "NewProjectAnswer": whole(made),
        "Projects": list("Project"),
        "Detail": whole(detail),
        "Details": list("Detail"),
        "Env": object(&[], json!({"env": {"type": "array", "items": {
            "type": "array", "items": text(), "minItems": 2, "maxItems": 2,
        }}})),
        "Database": object(&["schemas"], json!({"schemas": {"type": "array", "items": object(&[], json!({
            "tables": array("Table"),
        }))}})),
        "Table": object(&["name", "cols"], json!({
            "name": {"type": "string", "minLength": 1},
            "cols": {"type": "array", "minItems": 1, "items": object(&["name", "constrains"], json!({
                "name": {"type": "string", "minLength": 1},
                "constrains": object(&["datatype"], json!({"datatype": {"enum": crate::routes::datatypes()}})),
            }))},
            "keys": {"type": "array", "items": object(&["name", "columnNames"], json!({
                "name": text(), "columnNames": {"type": "array", "items": text()},
            }))},
        })),
        "SignedKeys": object(&["signedKeys"], json!({"signedKeys": {"type": "array", "items": text()}})),
        "Config": {"anyOf": [reference("Env"), reference("Database"), reference("SignedKeys")]},
    })
}

fn applets() -> Value {
    let info = json!({
        "appletName": text(), "wasmName": text(), "wasmMd5": text(),
        "start": {"description": "true, \"true\" and 1 start it; anything else does not."},
        "strategies": array("StrategyInfo"),
    });
    let file = json!({"type": "string", "contentMediaType": "application/wasm"});
    json!({
        "StrategyInfo": object(&["handler"], json!({"eventType": text(), "handler": text()})),
        "NewStrategy": object(&["appletID", "handler"], json!({
            "appletID": {"anyOf": [reference("Number"), {"type": "integer", "minimum": 0, "maximum": u64::MAX}]},
            "eventType": text(), "handler": text(),
        })),
        "Strategy": whole(json!({
            "strategyID": reference("Number"), "projectID": reference("Number"), "appletID": reference("Number"),
            "appletName": text(), "projectName": text(), "eventType": text(), "handler": text(),
            "createdAt": reference("Time"), "updatedAt": reference("Time"),
        })),
        "Strategies": list("Strategy"),
        "NewCronJob": object(&["cronExpressions"], json!({"cronExpressions": text(), "eventType": text()})),
        "CronJob": whole(json!({
            "cronJobID": reference("Number"), "projectID": reference("Number"), "eventType": text(),
            "cronExpressions": text(), "createdAt": reference("Time"), "updatedAt": reference("Time"),
        })),
        "CronJobs": list("CronJob"),
        "AppletInfo": object(&[], info),
        "NewApplet": object(&["file"], json!({"file": file, "info": reference("AppletInfo")})),
        "AppletChange": object(&[], json!({"file": file, "info": reference("AppletInfo")})),
        "Applet": whole(json!({
            "appletID": reference("Number"), "projectID": reference("Number"), "name": text(),
            "resourceID": reference("Number"), "wasmName": text(), "md5": text(), "program": text(),
            "createdAt": reference("Time"), "updatedAt": reference("Time"), "strategies": array("Strategy"),
            "instance": {"anyOf": [reference("Instance"), {"type": "null"}]},
        })),
        "Applets": list("Applet"),
        "Instance": whole(json!({
            "instanceID": reference("Number"), "appletID": reference("Number"),
            "state": {"enum": ["CREATED", "STARTED", "STOPPED"]},
        })),
    })
}

fn publishers() -> Value {
    json!({
        "NewPublisher": object(&[], json!({
            "name": text(),
            "key": {"type": "string", "maxLength": 256, "pattern": "^[^/+#\\x00]*$", "description": "As the name if not given."},
        })),
        "Publisher": whole(json!({
            "publisherID": reference("Number"), "projectID": reference("Number"), "projectName": text(), "name": text(),
            "key": text(), "token": text(), "createdAt": reference("Time"), "updatedAt": reference("Time"),
        })),
        "Publishers": list("Publisher"),
    })
}

fn events() -> Value {
    let result = object(
        &["appletName", "instanceID", "handler", "returnValue", "code"],
        json!({
            "appletName": text(), "instanceID": reference("Number"), "handler": text(), "returnValue": {},
            "code": {"type": "integer"}, "error": text(),
        }),
    );
    let one = object(
        &["channel", "publisherID", "publisherKey", "eventID", "timestamp", "results"],
        json!({
            "channel": text(), "publisherID": reference("Number"), "publisherKey": text(), "eventID": text(),
            "timestamp": {"type": "integer", "description": "Milliseconds."}, "results": array("EventResult"),
            "error": text(),
        }),
    );
    let many = object(
        &["index", "results"],
        json!({
            "index": {"type": "integer", "minimum": 0}, "results": array("EventResult"), "error": text(),
        }),
    );
    json!({
        "EventResult": result, "EventAnswer": one, "BatchAnswer": many,
        "EventAnswers": {"anyOf": [reference("EventAnswer"), {"type": "array", "items": reference("BatchAnswer")}]},
    })
}

fn later() -> Value {
    let state = json!({"state": text(), "time": reference("Time"), "comment": text(), "result": text()});
    json!({
        "Message": object(&["projectID", "data"], json!({
            "projectID": {"type": "integer", "minimum": 0, "maximum": u64::MAX}, "projectVersion": text(), "data": text(),
        })),
        "MessageAnswer": whole(json!({"messageID": text()})),
        "MessageStates": whole(json!({"messageID": text(), "states": {"type": "array", "items": whole(state)}})),
        "Task": object(&["nonce", "projectID", "signature"], json!({
            "nonce": {"type": ["integer", "string"], "description": "The device's number of the task, not 0."},
            "projectID": {"type": ["string", "integer"], "description": "The project's number or name."},
            "projectVersion": text(),
            "payload": {"description": "JSON, or bytes as hex digits."},
            "signature": {"type": "string", "pattern": "^(0x)?[0-9a-fA-F]{128}$"},
        })),
        "TaskAnswer": whole(json!({"taskID": text()})),
        "TaskStates": whole(json!({
            "projectID": text(), "taskID": text(), "states": {"type": "array", "items": object(&["state", "time"], json!({
                "state": text(), "time": reference("Time"), "comment": text(), "error": text(),
                "transaction_hash": text(), "prover_id": text(),
            }))},
        })),
    })
}
