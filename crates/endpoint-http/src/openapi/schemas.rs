//! The document's schemas.

use serde_json::{Value, json};
use w3bstream_endpoint::MessageLife;
use w3bstream_types::MAX_EVENT_ID_BYTES;

use super::reference;
use crate::problem::ProblemKind;

pub(super) fn schemas() -> Value {
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
                    "description": "In mode executed, one for each handler: of the message, then of each event that \
                                    handlers sent.",
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
                "event": {
                    "allOf": [reference("Label")],
                    "description": "The type of the event that it was called with, if another handler sent that.",
                },
                "answer": {"type": "string", "description": "What it answered, if that is text."},
                "answer_base64": {
                    "type": "string", "contentEncoding": "base64",
                    "description": "What it answered, if that is no text.",
                },
            },
        },
        "Session": session(),
        "Challenge": challenge(),
        "Message": message_life(),
        "MessageSettlement": settlement(),
        "State": {"enum": STATES},
        "StateChange": {
            "type": "object", "required": ["state", "time", "reason"],
            "properties": {
                "state": reference("State"),
                "time": reference("Time"),
                "reason": {"type": "string", "description": "Why, or what it waits for next."},
            },
        },
        "LiveChange": live_change(),
        "Missed": {
            "type": "object", "required": ["count"],
            "properties": {"count": {
                "allOf": [reference("Decimal")],
                "description": "So many changes, wanted or not, were not told to this slow stream.",
            }},
        },
        "BatchLine": batch_line(),
        "BatchResult": batch_result(),
        "Problem": problem(),
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

fn challenge() -> Value {
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

/// What `state` may be.
const STATES: [&str; 6] = ["stored", "ordered", "executed", "attested", "rejected", "conflicted"];

fn problem() -> Value {
    let codes: Vec<_> = ProblemKind::all().map(ProblemKind::code).collect();
    json!({
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
    })
}

fn live_change() -> Value {
    json!({
        "type": "object", "required": ["project", "id", "source", "type", "state", "time", "reason"],
        "properties": {
            "project": reference("Label"),
            "id": reference("Digest"),
            "source": {
                "type": "string",
                "description": "Who sent it: a device's DID, publisher:<name> or trigger:<name>.",
            },
            "type": reference("Label"),
            "state": reference("State"),
            "time": reference("Time"),
            "reason": {"type": "string"},
        },
    })
}

fn batch_line() -> Value {
    let base64 = json!({"type": "string", "contentEncoding": "base64"});
    json!({
        "description": "A compact JWS, bare or as a JSON string; or one of these objects.",
        "oneOf": [
            {"type": "string", "pattern": "^eyJ"},
            {
                "type": "object", "required": ["envelope"], "additionalProperties": false,
                "properties": {"envelope": base64},
            },
            {
                "type": "object", "required": ["event_id"], "additionalProperties": false,
                "properties": {
                    "event_id": {
                        "type": "string", "minLength": 1, "maxLength": MAX_EVENT_ID_BYTES, "pattern": "^[!-~]+$",
                        "description": "The sender's own id of the event, as Idempotency-Key of a single message.",
                    },
                    "type": reference("Label"),
                    "time": {
                        "anyOf": [{"type": "integer", "minimum": 0}, reference("Decimal")],
                        "description": "The sender's time, in milliseconds since the epoch.",
                    },
                    "payload": {
                        "description": "Of a string the payload is its text; of any other value but null the JSON \
                                        as it stands in the line.",
                    },
                    "payload_base64": base64,
                },
                "oneOf": [{"required": ["payload"]}, {"required": ["payload_base64"]}],
            },
        ],
    })
}

fn batch_result() -> Value {
    json!({
        "type": "object", "required": ["line", "status"],
        "anyOf": [reference("Accepted"), reference("Problem")],
        "properties": {
            "line": {"type": "integer", "minimum": 1, "description": "The number of the line, empty ones counted."},
            "status": {
                "type": "integer", "minimum": 200, "maximum": 599,
                "description": "What the message would have been answered alone.",
            },
            "retry_after": {
                "type": "integer", "minimum": 1,
                "description": "With a status of 408, 503 or 504: seconds to wait before the same line is sent again.",
            },
            "stopped": {
                "const": true, "description": "This line and all behind it were not taken. It is the last result.",
            },
        },
    })
}
