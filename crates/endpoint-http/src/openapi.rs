//! The interface as an OpenAPI 3.1 document.

use serde_json::{Map, Value, json};
use w3bstream_endpoint::MessageLife;
use w3bstream_types::{MAX_EVENT_ID_BYTES, MAX_SESSION_TEXT_BYTES, RefusalKind};
use w3bstream_wire::{CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE};

use crate::HttpLimits;
use crate::ingest::MAX_TOKEN_BYTES;
use crate::problem::{PROBLEM_JSON, ProblemKind};

/// The OpenAPI 3.1 document of an endpoint with these limits.
#[must_use]
pub fn document(limits: &HttpLimits) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "W3bstream node, device interface",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Send device messages over HTTP and ask where they are. Every refusal is \
                            application/problem+json with a stable code; a status of 408, 503 or 504 means: send \
                            the same bytes again, any other from 400 on is final for these bytes.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/projects/{project}/events": {"post": events(limits)},
            "/v1/projects/{project}/sessions": {"post": open_session()},
            "/v1/projects/{project}/sessions/challenge": {"get": challenge()},
            "/v1/messages/{id}": {"get": message()},
            "/livez": {"get": live()},
            "/readyz": {"get": ready()},
            "/metrics": {"get": metrics()},
            "/openapi.json": {"get": openapi()},
        },
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "publisherToken": {
                    "type": "http", "scheme": "bearer",
                    "description": format!(
                        "A publisher's token of this project, 1 to {MAX_TOKEN_BYTES} printable ASCII characters. \
                         Signed messages need none."
                    ),
                },
                "session": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "The JWT of a device's session, from POST /v1/projects/{project}/sessions.",
                },
            },
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn json_answer(description: &str, schema: &str) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": reference(schema)}}})
}

/// Problem answers, one per status, each naming its codes.
fn problems(kinds: &[ProblemKind]) -> Map<String, Value> {
    let mut answers = Map::new();
    for kind in kinds {
        let status = kind.status().as_u16().to_string();
        let same: Vec<_> = kinds.iter().filter(|k| k.status() == kind.status()).collect();
        let lines: Vec<_> = same.iter().map(|k| format!("`{}`: {}.", k.code(), k.title())).collect();
        let mut answer = json!({
            "description": lines.join(" "),
            "content": {PROBLEM_JSON: {"schema": reference("Problem")}},
        });
        let mut headers = Map::new();
        if same.iter().any(|k| k.retry_after().is_some()) {
            headers.insert(
                "Retry-After".into(),
                json!({
                    "description": "Seconds to wait before the same bytes are sent again.",
                    "schema": {"type": "integer", "minimum": 1},
                }),
            );
        }
        if status == "401" {
            let about = "The scheme that is understood.";
            headers.insert(
                "WWW-Authenticate".into(),
                json!({"description": about, "schema": {"type": "string"}}),
            );
        }
        if !headers.is_empty() {
            answer["headers"] = headers.into();
        }
        answers.insert(status, answer);
    }
    answers
}

fn answers(good: Value, kinds: &[ProblemKind]) -> Value {
    let mut all = problems(kinds);
    if let Value::Object(good) = good {
        all.extend(good);
    }
    all.into()
}

fn events(limits: &HttpLimits) -> Value {
    let mut kinds: Vec<_> = RefusalKind::ALL.into_iter().map(ProblemKind::Refusal).collect();
    kinds.extend([ProblemKind::UnsupportedMediaType, ProblemKind::RequestTimeout, ProblemKind::AckTimeout]);
    let mut accepted = json_answer("Accepted. What that promises is in `mode`.", "Accepted");
    accepted["headers"] = json!({
        "Location": {"description": "Where to ask for the message.", "schema": {"type": "string"}},
    });
    let mut repeat = accepted.clone();
    repeat["description"] = "Accepted before; not stored again.".into();
    json!({
        "operationId": "postEvent",
        "summary": "Send one message",
        "description": format!(
            "Either signed ({CONTENT_TYPE_ENVELOPE} or {CONTENT_TYPE_JOSE}), or any other body with a publisher's \
             token or the JWT of a device's session, and an Idempotency-Key. Bodies have at most {} bytes on this node.", limits.max_body_bytes
        ),
        "security": [{}, {"publisherToken": []}, {"session": []}],
        "parameters": event_parameters(),
        "requestBody": {
            "required": true,
            "content": {
                CONTENT_TYPE_ENVELOPE: {"schema": {
                    "type": "string", "format": "binary", "description": "A signed protobuf envelope.",
                }},
                CONTENT_TYPE_JOSE: {"schema": {
                    "type": "string", "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\s*$",
                    "description": "A compact JWS, typ w3b+jws.",
                }},
                "*/*": {"schema": {
                    "type": "string", "format": "binary", "description": "The payload, with a publisher's token or in a session.",
                }},
            },
        },
        "responses": answers(json!({"200": repeat, "201": accepted}), &kinds),
    })
}

fn event_parameters() -> Value {
    json!([
        {
            "name": "project", "in": "path", "required": true, "schema": reference("Label"),
            "description": "The project's name on this node.",
        },
        {
            "name": "type", "in": "query", "required": false, "schema": reference("Label"),
            "description": "The event type. A signed message names it inside, and both must agree; with a token or \
                            in a session it is `default` if left away.",
        },
        {
            "name": "time", "in": "query", "required": false,
            "schema": {"type": "integer", "minimum": 0, "maximum": u64::MAX},
            "description": "With a token or in a session: the sender's time, in milliseconds since the epoch; 0 is none. Not with \
                            a signed message.",
        },
        {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "schema": {
                "type": "string", "minLength": 1, "maxLength": MAX_EVENT_ID_BYTES, "pattern": "^[!-~]+$",
            },
            "description": "Needed with a token and in a session: the sender's own id of the event, the same in each repeat. Taken \
                            as it stands, quotes included.",
        },
    ])
}

fn project_parameter() -> Value {
    json!([{
        "name": "project", "in": "path", "required": true, "schema": reference("Label"),
        "description": "The project's name on this node.",
    }])
}

fn open_session() -> Value {
    let mut kinds: Vec<_> = RefusalKind::ALL.into_iter().map(ProblemKind::Refusal).collect();
    kinds.extend([ProblemKind::UnsupportedMediaType, ProblemKind::RequestTimeout, ProblemKind::AckTimeout]);
    json!({
        "operationId": "openSession",
        "summary": "Show the device's key once, for many messages",
        "description": "The body is a compact JWS (typ w3b-session+jws) with exactly the claims aud, iat, node, nonce \
                        and sub, signed by the registered device. The answer's token is sent with each message as \
                        Authorization: Bearer. The node vouches for these messages; the device does not sign them.",
        "parameters": project_parameter(),
        "requestBody": {
            "required": true,
            "content": {CONTENT_TYPE_JOSE: {"schema": {
                "type": "string", "maxLength": MAX_SESSION_TEXT_BYTES,
                "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\s*$",
            }}},
        },
        "responses": answers(json!({"201": json_answer("The session is open.", "Session")}), &kinds),
    })
}

fn challenge() -> Value {
    let kinds = [
        RefusalKind::UnknownProject,
        RefusalKind::NotAllowed,
        RefusalKind::NotReady,
        RefusalKind::ShuttingDown,
    ];
    json!({
        "operationId": "getChallenge",
        "summary": "A nonce for the introduction of a device without a clock",
        "parameters": project_parameter(),
        "responses": answers(
            json!({"200": json_answer("To be used once.", "Challenge")}), &kinds.map(ProblemKind::Refusal),
        ),
    })
}

fn message() -> Value {
    let kinds = [
        ProblemKind::Refusal(RefusalKind::Malformed),
        ProblemKind::UnknownMessage,
        ProblemKind::Refusal(RefusalKind::Overloaded),
        ProblemKind::StateUnavailable,
    ];
    json!({
        "operationId": "getMessage",
        "summary": "Where is my message?",
        "parameters": [{
            "name": "id", "in": "path", "required": true, "schema": reference("Digest"),
            "description": "The id from the answer to the message.",
        }],
        "responses": answers(json!({"200": json_answer("The message's life so far.", "Message")}), &kinds),
    })
}

fn plain(description: &str) -> Value {
    json!({"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}})
}

fn live() -> Value {
    json!({
        "operationId": "getLive", "summary": "Does the process run?",
        "responses": {"200": plain("It does.")},
    })
}

fn ready() -> Value {
    let kinds = [RefusalKind::NotReady, RefusalKind::ShuttingDown].map(ProblemKind::Refusal);
    json!({
        "operationId": "getReady", "summary": "Does the node take messages?",
        "responses": answers(json!({"200": plain("It does.")}), &kinds),
    })
}

fn metrics() -> Value {
    let kinds = [ProblemKind::Refusal(RefusalKind::Overloaded)];
    json!({
        "operationId": "getMetrics", "summary": "Metrics in the Prometheus text format",
        "responses": answers(json!({"200": plain("The metrics.")}), &kinds),
    })
}

fn openapi() -> Value {
    json!({
        "operationId": "getOpenapi", "summary": "This document",
        "responses": {"200": {
            "description": "The document.", "content": {"application/json": {"schema": {"type": "object"}}},
        }},
    })
}

fn schemas() -> Value {
    let codes: Vec<_> = ProblemKind::all().map(ProblemKind::code).collect();
    json!({
        "Label": {"type": "string", "pattern": "^[a-z0-9-]{1,63}$"},
        "Digest": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 in hex."},
        "Decimal": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$", "description": "A 64-bit number."},
        "Time": {
            "allOf": [reference("Decimal")], "description": "Milliseconds since 1970-01-01T00:00:00Z.",
        },
        "Accepted": {
            "type": "object", "required": ["id", "duplicate", "mode", "results"],
            "properties": {
                "id": reference("Digest"),
                "duplicate": {"type": "boolean", "description": "True if it was accepted before."},
                "mode": {
                    "enum": ["durable", "committed", "executed"],
                    "description": "durable: fsynced on this node. committed: a quorum has stored and ordered it. \
                                    executed: its handlers have run.",
                },
                "results": {
                    "type": "array", "items": reference("HandlerResult"),
                    "description": "In mode executed, one for each handler.",
                },
            },
        },
        "HandlerResult": {
            "type": "object", "required": ["applet", "handler", "code", "error", "gas"],
            "properties": {
                "applet": reference("Label"),
                "handler": {"type": "string"},
                "code": {"type": "integer", "description": "What the handler returned; -1 if it did not return."},
                "error": {"type": ["string", "null"], "description": "Why it did not return."},
                "gas": reference("Decimal"),
            },
        },
        "Session": session(),
        "Challenge": nonce(),
        "Message": message_life(),
        "MessageSettlement": settlement(),
        "StateChange": {
            "type": "object", "required": ["state", "time", "reason"],
            "properties": {
                "state": {"enum": ["stored", "ordered", "executed", "attested", "rejected", "conflicted"]},
                "time": reference("Time"),
                "reason": {"type": "string", "description": "Why, or what it waits for next."},
            },
        },
        "Problem": {
            "type": "object", "required": ["type", "title", "status", "detail", "code"],
            "properties": {
                "type": {"type": "string", "pattern": "^urn:w3bstream:(refusal|problem):[a-z-]+$"},
                "title": {"type": "string"},
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {"type": "string", "description": "What happened and how to fix it."},
                "code": {"enum": codes},
                "next_epoch": {
                    "type": "integer", "minimum": 0, "maximum": u32::MAX,
                    "description": "With too-old: the boot epoch that a wiped device should use next.",
                },
            },
        },
    })
}

fn session() -> Value {
    json!({
        "type": "object", "required": ["token", "device", "node", "expires"],
        "properties": {
            "token": {"type": "string", "description": "A JWT. Whoever holds it can send as the device."},
            "device": {"type": "string", "description": "The device's DID."},
            "node": {"type": "string", "description": "The DID of the node, which vouches for the messages."},
            "expires": {"allOf": [reference("Time")], "description": "When the session ends."},
        },
    })
}

fn nonce() -> Value {
    json!({
        "type": "object", "required": ["nonce", "node", "expires"],
        "properties": {
            "nonce": {"type": "string", "description": "To be the introduction's nonce, once."},
            "node": {"type": "string", "description": "The node's DID, which the introduction names."},
            "expires": {"allOf": [reference("Time")], "description": "Until when it is taken."},
        },
    })
}

fn message_life() -> Value {
    json!({
        "type": "object", "required": ["id", "project", "states", "settlements", "settlement_count"],
        "properties": {
            "id": reference("Digest"),
            "project": reference("Label"),
            "states": {"type": "array", "items": reference("StateChange"), "description": "Oldest first."},
            "settlements": {
                "type": "array", "items": reference("MessageSettlement"),
                "maxItems": MessageLife::MOST_SETTLEMENTS,
                "description": "What its handlers asked to be brought to contracts: the first of them.",
            },
            "settlement_count": {"type": "integer", "minimum": 0, "description": "How many there are in all."},
        },
    })
}

fn settlement() -> Value {
    json!({
        "type": "object",
        "required": ["height", "index", "name", "chain", "state", "proof", "attempts", "reason", "transaction"],
        "properties": {
            "height": reference("Decimal"),
            "index": {"allOf": [reference("Decimal")], "description": "Among the outputs of the block."},
            "name": {"type": "string", "description": "The settlement's name in the manifest."},
            "chain": {"allOf": [reference("Decimal")], "description": "The chain's id (EIP-155)."},
            "state": {
                "enum": ["waiting", "proven", "settled", "elsewhere"],
                "description": "waiting: for its block's attestation, its proof, or without one its transaction. \
                                proven: the transaction is not final yet. settled: the contract took it. \
                                elsewhere: the contract took it by a transaction that this node does not know.",
            },
            "proof": {
                "enum": ["none", "waiting", "made"],
                "description": "none: it needs none, or it is not this node's.",
            },
            "attempts": {"type": "integer", "minimum": 0, "description": "How often it was tried in vain."},
            "reason": {"type": "string", "description": "What it waits for, or why it is not further."},
            "transaction": {
                "type": ["object", "null"], "required": ["hash", "block", "gas"],
                "properties": {
                    "hash": {"type": "string", "pattern": "^0x[0-9a-f]{64}$"},
                    "block": reference("Decimal"),
                    "gas": {"allOf": [reference("Decimal")], "description": "Gas that it used."},
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ROUTES;

    #[test]
    fn documented_and_served_are_the_same() {
        let document = document(&HttpLimits::default());
        let mut documented: Vec<&str> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut served: Vec<_> = ROUTES.iter().map(|r| r.path).collect();
        documented.sort();
        served.sort();
        assert_eq!(documented, served);
    }

    #[test]
    fn every_reference_points_at_something_and_every_schema_is_used() {
        let document = document(&HttpLimits::default());
        let text = document.to_string();
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(text.contains(&format!("#/components/schemas/{name}\"")), "{name} is not used");
        }
        for reference in text.split("\"$ref\":\"").skip(1) {
            let pointer = reference.split('"').next().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
    }

    #[test]
    fn parameters_in_a_path_are_documented() {
        let document = document(&HttpLimits::default());
        for (path, methods) in document["paths"].as_object().unwrap() {
            for name in path.split('{').skip(1).map(|p| p.split('}').next().unwrap()) {
                for operation in methods.as_object().unwrap().values() {
                    let found = operation["parameters"].as_array().unwrap().iter().any(|p| p["name"] == name);
                    assert!(found, "{path} does not document {name}");
                }
            }
        }
    }
}
