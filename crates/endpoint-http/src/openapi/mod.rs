//! The interface as an OpenAPI 3.1 document.

mod schemas;

use serde_json::{Map, Value, json};
use w3bstream_types::{MAX_EVENT_ID_BYTES, MAX_SESSION_TEXT_BYTES, RefusalKind};
use w3bstream_wire::{CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE};

use self::schemas::schemas;
use crate::HttpLimits;
use crate::batch::NDJSON;
use crate::ingest::{MAX_TOKEN_BYTES, MIN_WAIT_MS};
use crate::problem::{PROBLEM_JSON, ProblemKind};
use crate::sse::{EVENT_STREAM, RETRY_MS};

/// The OpenAPI 3.1 document of an endpoint with these limits.
#[must_use]
pub fn document(limits: &HttpLimits) -> Value {
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "W3bstream node, device interface",
            "version": env!("CARGO_PKG_VERSION"),
            "description": about(limits),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/projects/{project}/events": {"post": events(limits), "get": stream(limits)},
            "/v1/projects/{project}/events:batch": {"post": batch(limits)},
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
            "parameters": parameters(limits),
            "headers": {"Traceresponse": {
                "description": "W3C Trace Context: the request's trace, and this node's part in it.",
                "schema": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
            }},
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
    });
    everywhere(&mut document);
    document
}

fn about(limits: &HttpLimits) -> String {
    format!(
        "Send device messages over HTTP/1.1 or HTTP/2, ask where they are, and listen to what happens to them.\n\n\
         **Problems.** Every refusal is application/problem+json (RFC 9457) with a stable code; a status of 408, 503 or \
         504 has a Retry-After and means: send the same bytes again. Any other from 400 on is final for these bytes. \
         A head of more than {} bytes, or one that is no HTTP, is answered 431 or 400 without a body.\n\n\
         **Compression.** Bodies may be sent with Content-Encoding gzip or zstd, with windows of at most 8 MiB; limits are \
         of the decompressed body, which may be {} times as large as what was sent. Answers from 1,024 bytes on \
         are compressed for those who ask with Accept-Encoding.\n\n\
         **Traces.** A traceparent is followed if it is valid, and every answer has a traceresponse.\n\n\
         **Web pages.** By default none may use these routes. The node's operator lists origins; preflights of those \
         are answered 204 to OPTIONS, and credentials of the browser are never used.\n\n\
         **Limits of this node.** {} connections, {} of one address; {} messages in flight; {} streams of events, {} of \
         one address; {} batches, {} of one address. Beyond them: 503.",
        limits.max_header_bytes,
        limits.max_compression_ratio,
        limits.max_connections,
        limits.max_connections_per_address,
        limits.max_in_flight,
        limits.max_event_streams,
        limits.max_event_streams_per_address,
        limits.max_batches,
        limits.max_batches_per_address,
    )
}

/// What every operation takes and every answer has.
fn everywhere(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        if operation["parameters"].is_null() {
            operation["parameters"] = json!([]);
        }
        if let Some(parameters) = operation["parameters"].as_array_mut() {
            parameters.push(parameter("Traceparent"));
        }
        let answers = operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut);
        for answer in answers {
            answer["headers"]["traceresponse"] = json!({"$ref": "#/components/headers/Traceresponse"});
        }
    }
}

fn parameter(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

fn parameters(limits: &HttpLimits) -> Value {
    json!({
        "Traceparent": {
            "name": "traceparent", "in": "header", "required": false, "schema": {"type": "string"},
            "description": "W3C Trace Context, level 2. One that is not valid counts for nothing.",
        },
        "Project": {
            "name": "project", "in": "path", "required": true, "schema": reference("Label"),
            "description": "The project's name on this node.",
        },
        "ContentEncoding": {
            "name": "Content-Encoding", "in": "header", "required": false,
            "schema": {"enum": ["identity", "gzip", "zstd"]},
            "description": format!(
                "How the body is compressed. Limits are of the decompressed body, which may be {} times as large, \
                 behind its first 65,536 bytes.",
                limits.max_compression_ratio
            ),
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
        if status == "415" {
            headers.insert(
                "Accept-Encoding".into(),
                json!({"description": "The codings that are understood.", "schema": {"type": "string"}}),
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
    kinds.push(ProblemKind::KeyReused);
    let mut accepted = json_answer("Accepted. What that promises is in `mode`.", "Accepted");
    accepted["headers"] = json!({
        "Location": {"description": "Where to ask for the message.", "schema": {"type": "string"}},
    });
    let mut repeat = accepted.clone();
    repeat["description"] = "Accepted before; not stored again.".into();
    let mut under_way = accepted.clone();
    under_way["description"] =
        "With `wait`: stored, and not executed within that time. It will be, once. Send the same \
                                request again for the results, or ask where the message is."
            .into();
    json!({
        "operationId": "postEvent",
        "summary": "Send one message",
        "description": format!(
            "Either signed ({CONTENT_TYPE_ENVELOPE} or {CONTENT_TYPE_JOSE}), or any other body with a publisher's \
             token and an Idempotency-Key. Bodies have at most {} bytes on this node. A message waits {} ms for \
             a place in flight and {} ms for its acknowledgement. Who gives `wait` waits for the handlers' results \
             instead, whatever the project promises.",
            limits.max_body_bytes, limits.overload_wait.as_millis(), limits.ack_timeout.as_millis(),
        ),
        "security": [{}, {"publisherToken": []}, {"session": []}],
        "parameters": event_parameters(limits),
        "requestBody": {
            // Of a token event an empty payload is as good as any.
            "required": false,
            "content": {
                CONTENT_TYPE_ENVELOPE: {"schema": {
                    "type": "string", "format": "binary", "description": "A signed protobuf envelope.",
                }},
                CONTENT_TYPE_JOSE: {"schema": {
                    "type": "string", "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\s*$",
                    "description": "A compact JWS, typ w3b+jws.",
                }},
                "*/*": {"schema": {
                    "type": "string", "format": "binary", "description": "The payload, with a publisher's token.",
                }},
            },
        },
        "responses": answers(json!({"200": repeat, "201": accepted, "202": under_way}), &kinds),
    })
}

fn event_parameters(limits: &HttpLimits) -> Value {
    json!([
        parameter("Project"),
        parameter("ContentEncoding"),
        {
            "name": "type", "in": "query", "required": false, "schema": reference("Label"),
            "description": "The event type. A signed message names it inside, and both must agree; with a token \
                            it is `default` if left away.",
        },
        {
            "name": "time", "in": "query", "required": false,
            "schema": {"type": "integer", "minimum": 0, "maximum": u64::MAX},
            "description": "With a token: the sender's time, in milliseconds since the epoch; 0 is none. Not with \
                            a signed message.",
        },
        {
            "name": "wait", "in": "query", "required": false,
            "schema": {"type": "integer", "minimum": MIN_WAIT_MS, "maximum": limits.max_wait.as_millis()},
            "description": "How long to wait for the handlers' results and answers, in milliseconds. They come with 200 or \
                            201, in mode `executed`; if the time is over before: 202.",
        },
        {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "schema": {
                "type": "string", "minLength": 1, "maxLength": MAX_EVENT_ID_BYTES, "pattern": "^[!-~]+$",
            },
            "description": "Needed with a token: the sender's own id of the event, the same in each repeat; it makes \
                            the event exactly-once. A signed message is exactly-once by its own id; with a key, \
                            another message of the sender under the same key is refused as key-reused while the node \
                            remembers. Taken as it stands, quotes included.",
        },
    ])
}

fn batch(limits: &HttpLimits) -> Value {
    let refusals = [
        RefusalKind::Malformed,
        RefusalKind::BadToken,
        RefusalKind::UnknownProject,
        RefusalKind::Removed,
        RefusalKind::TooLarge,
        RefusalKind::Overloaded,
        RefusalKind::ShuttingDown,
    ];
    let mut kinds: Vec<_> = refusals.map(ProblemKind::Refusal).into();
    kinds.extend([ProblemKind::UnsupportedMediaType, ProblemKind::RequestTimeout]);
    let good = json!({
        "description": "One result per line that is not empty, in the order of the lines, each as soon as it is known \
                        and those before it are written. Without a result for the last line, or one that says \
                        stopped, the answer was cut off: send again what has no result.",
        "content": {NDJSON: {"schema": {"type": "string"}, "x-line-schema": reference("BatchResult")}},
    });
    json!({
        "operationId": "postBatch",
        "summary": "Send many messages",
        "description": format!(
            "One message per line. A line that is refused changes nothing for the others; sending a line again is always \
             safe. At most {} lines of at most {} bytes, {} bytes in all, in {} s; {} lines are in flight at once, and \
             while results of more than {} bytes wait for being read, nothing more is read. An Idempotency-Key has no \
             meaning here: each line has its own id.",
            limits.batch_lines, limits.batch_line_bytes, limits.batch_bytes, limits.batch_timeout.as_secs(),
            limits.batch_in_flight, limits.batch_answer_bytes,
        ),
        "security": [{}, {"publisherToken": []}, {"session": []}],
        "parameters": [parameter("Project"), parameter("ContentEncoding")],
        "requestBody": {
            "required": true,
            // Whatever comes is a batch: what is wrong with a line is said in its result.
            "content": {NDJSON: {"schema": {}, "x-line-schema": reference("BatchLine")}},
        },
        "responses": answers(json!({"200": good}), &kinds),
    })
}

fn stream(limits: &HttpLimits) -> Value {
    let refusals = [
        RefusalKind::Malformed,
        RefusalKind::BadToken,
        RefusalKind::NotAllowed,
        RefusalKind::UnknownProject,
        RefusalKind::Removed,
        RefusalKind::Overloaded,
        RefusalKind::ShuttingDown,
    ];
    let filter = |name: &str, schema: Value, about: &str| json!({"name": name, "in": "query", "required": false, "schema": schema, "description": about});
    let good = json!({
        "description": format!(
            "Events `change`, and `missed` when this stream was too slow; a comment after {} ms without either; {RETRY_MS} \
             ms to come back when the node ends the stream.",
            limits.event_keep_alive.as_millis()
        ),
        "headers": {"Cache-Control": {"description": "no-store", "schema": {"type": "string"}}},
        "content": {EVENT_STREAM: {
            "schema": {"type": "string"},
            "x-event-schemas": {"change": reference("LiveChange"), "missed": reference("Missed")},
        }},
    });
    json!({
        "operationId": "streamEvents",
        "summary": "Listen to what happens to messages",
        "description": "Server-sent events from now on: there is no history and no Last-Event-ID. Who may ask for a \
                        message may listen, unless the operator decides otherwise. A project of which nothing is \
                        heard may not be there.",
        "security": [{}, {"publisherToken": []}, {"session": []}],
        "parameters": [
            parameter("Project"),
            filter("source", json!({"type": "string"}), "Of this sender only, as in the events."),
            filter("type", reference("Label"), "Of this event type only."),
            filter("id", reference("Digest"), "Of this message only."),
            filter(
                "state",
                json!({"type": "string", "pattern": STATES_PATTERN}),
                "These states only, with commas between them.",
            ),
        ],
        "responses": answers(json!({"200": good}), &refusals.map(ProblemKind::Refusal)),
    })
}

/// One or more states.
const STATES_PATTERN: &str = "^(stored|ordered|executed|attested|rejected|conflicted)\
                              (,(stored|ordered|executed|attested|rejected|conflicted))*$";

/// An answer that nobody may keep.
fn secret(description: &str, schema: &str) -> Value {
    let mut answer = json_answer(description, schema);
    answer["headers"]["Cache-Control"] = json!({"schema": {"const": "no-store"}});
    answer
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
        "parameters": [parameter("Project")],
        "requestBody": {
            "required": true,
            "content": {CONTENT_TYPE_JOSE: {"schema": {
                // One that is too long is told so by 413, as bodies are.
                "type": "string", "description": format!("At most {MAX_SESSION_TEXT_BYTES} bytes."),
                "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\s*$",
            }}},
        },
        "responses": answers(json!({"201": secret("The session is open.", "Session")}), &kinds),
    })
}

fn challenge() -> Value {
    let kinds = [
        RefusalKind::UnknownProject,
        RefusalKind::Removed,
        RefusalKind::NotAllowed,
        RefusalKind::NotReady,
        RefusalKind::ShuttingDown,
    ];
    json!({
        "operationId": "getChallenge",
        "summary": "A nonce for the introduction of a device without a clock",
        "parameters": [parameter("Project")],
        "responses": answers(
            json!({"200": secret("To be used once.", "Challenge")}), &kinds.map(ProblemKind::Refusal),
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
                    let all = operation["parameters"].as_array().unwrap().iter();
                    let found =
                        all.map(|p| p["$ref"].as_str().map_or(p, |r| document.pointer(&r[1..]).unwrap()));
                    let found = found.into_iter().any(|p| p["name"] == name && p["in"] == "path");
                    assert!(found, "{path} does not document {name}");
                }
            }
        }
    }
}
