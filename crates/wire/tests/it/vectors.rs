//! The vectors in `docs/devices.md`, which device clients are tested against.
//!
//! After a deliberate change write them anew with
//! `cargo test -p w3bstream-wire --test it -- --ignored write_vectors` and review the difference.

use serde_json::{Value, json};
use w3bstream_types::{
    Algorithm, Canonical, Did, Draft, Form, Introduction, IntroductionClaims, Jws, MessageId, ProjectId,
    Record, RefusalKind, SecretKey, Sequence, Timestamp,
};
use w3bstream_wire::{decode_message, encode_envelope};

/// What stands before and after a block.
type Marks = (&'static str, &'static str);

const MESSAGES: Marks = ("<!-- vectors: begin -->\n```json\n", "```\n<!-- vectors: end -->");
const SESSIONS: Marks = ("<!-- session vectors: begin -->\n```json\n", "```\n<!-- session vectors: end -->");

fn doc_path() -> std::path::PathBuf {
    "../../docs/devices.md".into()
}

fn doc() -> String {
    std::fs::read_to_string(doc_path()).unwrap()
}

fn block(doc: &str, (begin, end): Marks) -> (usize, usize) {
    let from = doc.find(begin).unwrap() + begin.len();
    (from, from + doc[from..].find(end).unwrap())
}

fn owner() -> Did {
    Did::key(&SecretKey::from_bytes(Algorithm::EdDSA, &[0x11; 32]).unwrap().public())
}

fn vector(name: &str, (key, did): (&SecretKey, Did), (seq, time): (Sequence, u64), payload: &[u8]) -> Value {
    let draft = Draft {
        audience: ProjectId::new(&owner(), &"cold-chain".parse().unwrap()),
        key: did.default_key_id(),
        event_type: "temperature".parse().unwrap(),
        sequence: seq,
        time: Timestamp(time),
        payload: payload.to_vec(),
    };
    let salt: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
    let jws = draft.clone().sign_jws(key);
    let envelope = draft.sign_envelope(salt, key);
    let header = envelope.header().clone();
    let id = |form| Record::new(form).id().to_string();
    json!({
        "name": name,
        "algorithm": key.algorithm().name(),
        "secret_key": hex::encode(key.to_bytes()),
        "did": did.as_str(),
        "key": header.key.as_str(),
        "owner": owner().as_str(),
        "project": "cold-chain",
        "audience": header.audience.to_string(),
        "type": header.event_type.as_str(),
        "sequence": header.sequence.to_string(),
        "time": header.time.to_string(),
        "salt": hex::encode(salt),
        "payload": hex::encode(payload),
        "payload_digest": header.payload_digest.to_string(),
        "signing_input": hex::encode(header.to_canonical()),
        "signature": hex::encode(envelope.signature()),
        "id": id(Form::Envelope(envelope.clone())),
        "envelope": hex::encode(encode_envelope(&envelope)),
        "jws": jws,
        "jws_id": id(Form::Jws(Jws::parse(&jws).unwrap())),
    })
}

fn vectors() -> Value {
    let key = |algorithm, n| SecretKey::from_bytes(algorithm, &[n; 32]).unwrap();
    let (ed, p256, k256) =
        (key(Algorithm::EdDSA, 0x21), key(Algorithm::ES256, 0x22), key(Algorithm::ES256K, 0x23));
    let reading = br#"{"celsius":4.5}"#;
    let at = (Sequence::new(1, 7), 1_700_000_000_000);
    json!([
        vector("Ed25519, did:key", (&ed, Did::key(&ed.public())), at, reading),
        vector(
            "Ed25519, no clock, first message, empty payload",
            (&ed, Did::key(&ed.public())),
            (Sequence::new(0, 0), 0),
            b""
        ),
        vector("P-256, did:jwk", (&p256, Did::jwk(&p256.public())), at, reading),
        vector("secp256k1, did:key", (&k256, Did::key(&k256.public())), at, reading),
    ])
}

fn session(algorithm: Algorithm, secret: u8, (iat, nonce): (u64, &str)) -> Value {
    let key = SecretKey::from_bytes(algorithm, &[secret; 32]).unwrap();
    let node = Did::key(&SecretKey::from_bytes(Algorithm::EdDSA, &[0x31; 32]).unwrap().public());
    let claims = IntroductionClaims {
        audience: ProjectId::new(&owner(), &"cold-chain".parse().unwrap()),
        device: Did::key(&key.public()),
        node,
        issued: iat,
        nonce: nonce.into(),
        client: None,
    };
    let connects = IntroductionClaims { client: Some("meter-7".into()), ..claims.clone() };
    json!({
        "algorithm": algorithm.name(),
        "secret_key": hex::encode(key.to_bytes()),
        "device": claims.device.as_str(),
        "owner": owner().as_str(),
        "project": "cold-chain",
        "node": claims.node.as_str(),
        "iat": iat,
        "nonce": nonce,
        "client": "meter-7",
        "event_id": "reading-1",
        "session": claims.sign(&key),
        "connect": connects.sign(&key),
        "id": MessageId::of_session_event(&claims.audience, &claims.device, "reading-1").to_string(),
    })
}

fn sessions() -> Value {
    let challenge = "0000018bcfe56800000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    json!([
        session(Algorithm::EdDSA, 0x21, (1_700_000_000, "nonce-1")),
        session(Algorithm::ES256, 0x22, (0, challenge)),
        session(Algorithm::ES256K, 0x23, (1_700_000_000, "nonce-1")),
    ])
}

#[test]
fn the_document_has_these_vectors() {
    let doc = doc();
    for (marks, vectors) in [(MESSAGES, vectors()), (SESSIONS, sessions())] {
        let (from, to) = block(&doc, marks);
        let written: Value = serde_json::from_str(&doc[from..to]).unwrap();
        assert_eq!(written, vectors);
    }
}

/// Takes the written texts and nothing else, as a node does.
#[test]
fn the_written_introductions_are_read_and_verify() {
    let doc = doc();
    let (from, to) = block(&doc, SESSIONS);
    let written: Vec<Value> = serde_json::from_str(&doc[from..to]).unwrap();
    assert_eq!(written.len(), 3);
    for vector in written {
        let text = |name: &str| vector[name].as_str().unwrap();
        let key = text("device").parse::<Did>().unwrap().embedded_key().unwrap();
        let (session, connect) =
            (Introduction::session(text("session")), Introduction::connect(text("connect")));
        for (read, client) in [(session.unwrap(), None), (connect.unwrap(), Some(text("client")))] {
            read.verify(&key).unwrap();
            let claims = read.claims();
            assert_eq!(claims.client.as_deref(), client);
            assert_eq!((claims.node.as_str(), claims.nonce.as_str()), (text("node"), text("nonce")));
            assert_eq!(
                (claims.device.as_str(), claims.issued),
                (text("device"), vector["iat"].as_u64().unwrap())
            );
            let id = MessageId::of_session_event(&claims.audience, &claims.device, text("event_id"));
            assert_eq!(id.to_string(), text("id"));
        }
    }
}

/// Takes the written bytes and nothing else, as a node does.
#[test]
fn the_written_messages_are_read_and_verify() {
    let doc = doc();
    let (from, to) = block(&doc, MESSAGES);
    let written: Vec<Value> = serde_json::from_str(&doc[from..to]).unwrap();
    assert_eq!(written.len(), 4);
    for vector in written {
        let text = |name: &str| vector[name].as_str().unwrap();
        let key = text("did").parse::<Did>().unwrap().embedded_key().unwrap();
        let envelope = decode_message(None, &hex::decode(text("envelope")).unwrap()).unwrap();
        let jws = decode_message(None, text("jws").as_bytes()).unwrap();
        for (record, id) in [(&envelope, "id"), (&jws, "jws_id")] {
            record.verify(&key).unwrap();
            assert_eq!(record.id().to_string(), text(id));
            assert_eq!(record.payload(), hex::decode(text("payload")).unwrap());
            let header = record.header().unwrap();
            assert_eq!(header.key.as_str(), text("key"));
            assert_eq!(header.audience.to_string(), text("audience"));
            assert_eq!(header.event_type.as_str(), text("type"));
            assert_eq!(header.sequence.to_string(), text("sequence"));
            assert_eq!(header.time.to_string(), text("time"));
        }
        let Form::Envelope(form) = envelope.form() else { panic!("no envelope") };
        assert_eq!(hex::encode(form.header().to_canonical()), text("signing_input"));
        assert_eq!(form.header().payload_digest.to_string(), text("payload_digest"));
    }
}

#[test]
fn the_document_lists_every_refusal_code() {
    let doc = doc();
    for kind in RefusalKind::ALL {
        let row = format!("| `{kind}` | {} |", if kind.is_permanent() { "yes" } else { "no" });
        assert_eq!(doc.matches(&row).count(), 1, "{row}");
    }
}

#[test]
#[ignore = "writes the vectors into the document"]
fn write_vectors() {
    for (marks, vectors) in [(MESSAGES, vectors()), (SESSIONS, sessions())] {
        let doc = doc();
        let (from, to) = block(&doc, marks);
        let text = serde_json::to_string_pretty(&vectors).unwrap();
        std::fs::write(doc_path(), format!("{}{text}\n{}", &doc[..from], &doc[to..])).unwrap();
    }
}
