//! What devices send: signed messages in both forms, sessions, and the forms of the original's clients.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use prost::Message as _;
use serde_json::Value;
use w3bstream_types::{
    Algorithm, Canonical as _, Form, Introduction, Jws, MAX_PAYLOAD_BYTES, PublicKey, Record, SecretKey,
    SessionToken, Timestamp,
};
use w3bstream_wire::legacy::{
    Channel, Event, EventQuery, Fill, MAX_BATCH, SproutMessage, Task, event_type_of, fold_name, publisher_of,
    read_batch, read_mqtt, repair_time,
};
use w3bstream_wire::{
    CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE, decode_envelope, decode_jws, decode_message, encode_envelope,
};

/// Somebody's key, who has signed nothing.
fn stranger() -> PublicKey {
    SecretKey::from_bytes(Algorithm::EdDSA, &[250; 32]).unwrap().public()
}

/// What is stored of a message is the message.
fn record(record: &Record) {
    let stored = record.to_canonical();
    let read = Record::from_canonical(&stored).expect("what was accepted can be stored");
    assert_eq!((read.id(), read.payload()), (record.id(), record.payload()), "the record is another message");
    assert_eq!(read.source(), record.source());
    assert!(record.payload().len() <= MAX_PAYLOAD_BYTES);
    assert!(record.verify(&stranger()).is_err(), "a stranger's key fits");
}

/// Compact JWS, read a second time with nothing but base64 and JSON.
pub(crate) fn jws(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        assert!(decode_jws(bytes).is_err());
        return;
    };
    let Ok(jws) = Jws::parse(text) else {
        assert!(decode_jws(bytes).is_err() && decode_message(Some(CONTENT_TYPE_JOSE), bytes).is_err());
        return;
    };
    assert_eq!(jws.compact(), text);
    let parts: Vec<&str> = text.split('.').collect();
    let [head, claims, signature] = parts[..] else { panic!("a JWS of {} parts", parts.len()) };
    assert_eq!(jws.signing_input(), format!("{head}.{claims}").as_bytes());
    let json = |part: &str| -> Value { serde_json::from_slice(&B64.decode(part).unwrap()).unwrap() };
    let (head, claims) = (json(head), json(claims));
    assert_eq!(head["typ"], "w3b+jws");
    assert_eq!(head["kid"], jws.header().key.as_str());
    assert_eq!(claims["type"], jws.header().event_type.as_str());
    assert_eq!(claims["iat"].as_u64().map(|s| s * 1000), Some(jws.header().time.millis()));
    assert_eq!(B64.decode(claims["data"].as_str().unwrap()).unwrap(), jws.payload());
    assert_eq!(B64.decode(signature).unwrap().len(), 64);
    let read = decode_message(Some(CONTENT_TYPE_JOSE), bytes).expect("it is a JWS");
    // Without a content type a blank at the beginning of its header hides it.
    assert_eq!(decode_message(None, bytes).is_ok(), text.starts_with("eyJ"), "the bytes tell");
    assert_eq!(read, Record::new(Form::Jws(jws)));
    record(&read);
}

/// A session's JWT, and a device's introduction.
pub(crate) fn session(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let introduced = [Introduction::session(text).ok(), Introduction::connect(text).ok()];
    for introduction in introduced.iter().flatten() {
        assert!(introduction.verify(&stranger()).is_err());
        assert_eq!(introduction.key().did(), introduction.claims().device);
    }
    let kinds = introduced.iter().flatten().count();
    let Ok(token) = SessionToken::parse(text) else {
        assert!(kinds <= 1, "one text is two introductions");
        return;
    };
    assert_eq!(kinds, 0, "a token is an introduction");
    assert_eq!(SessionToken::looks_like(text), text.starts_with("eyJ"));
    assert_eq!(token.compact(), text);
    let claims = token.claims();
    assert!(token.issued() < token.expires());
    assert!(!token.in_force(token.expires()), "it is in force when it has ended");
    assert!(token.verify(&[]).is_err(), "nobody's token is believed");
    let _ = token.verify(std::slice::from_ref(&claims.node));
    if let Ok(input) = claims.signing_input() {
        let again = SessionToken::assemble(&input, &[9; 64]).expect("the claims can be signed again");
        assert_eq!(again.claims(), claims);
    }
}

/// The envelope as a reader that is told nothing of rules sees it.
#[derive(Clone, PartialEq, prost::Message)]
struct Plain {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    audience: Vec<u8>,
    #[prost(string, tag = "3")]
    key: String,
    #[prost(string, tag = "4")]
    event_type: String,
    #[prost(uint64, tag = "5")]
    sequence: u64,
    #[prost(uint64, tag = "6")]
    time: u64,
    #[prost(bytes = "vec", tag = "7")]
    salt: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    payload: Vec<u8>,
    #[prost(bytes = "vec", tag = "9")]
    signature: Vec<u8>,
}

/// The envelope, whose fields may come in any order and mean one message.
pub(crate) fn envelope(bytes: &[u8]) {
    let Ok(envelope) = decode_envelope(bytes) else {
        assert!(decode_message(Some(CONTENT_TYPE_ENVELOPE), bytes).is_err());
        let _ = decode_message(None, bytes);
        return;
    };
    let encoded = encode_envelope(&envelope);
    assert_eq!(decode_envelope(&encoded).as_ref(), Ok(&envelope), "what was written is not what was read");
    let plain = Plain::decode(bytes).expect("every reader of protobuf reads it");
    assert_eq!(plain, Plain::decode(encoded.as_slice()).unwrap(), "other readers see two messages");
    let header = envelope.header();
    assert_eq!(
        (plain.key.as_str(), plain.event_type.as_str()),
        (header.key.as_str(), header.event_type.as_str())
    );
    assert_eq!((plain.sequence, plain.time), (header.sequence.as_u64(), header.time.millis()));
    assert_eq!((plain.payload.as_slice(), plain.salt.as_slice()), (envelope.payload(), &envelope.salt()[..]));
    let read = decode_message(Some(CONTENT_TYPE_ENVELOPE), bytes).expect("it is an envelope");
    assert_eq!(decode_message(None, bytes).as_ref(), Ok(&read), "the bytes tell");
    assert_eq!(read, Record::new(Form::Envelope(envelope)));
    record(&read);
}

const FILL: Fill = Fill { now: Timestamp(1_800_000_000_000), unique: [5; 16] };

/// Bodies, topics and names of the original's clients. The first byte says which.
pub(crate) fn legacy(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let text = std::str::from_utf8(body).unwrap_or_default();
    match kind % 6 {
        0 => {
            let Ok(items) = read_batch(body, &FILL) else { return };
            assert!((1..=MAX_BATCH).contains(&items.len()));
            assert!(items.iter().all(|item| !item.device.is_empty()));
            items.into_iter().for_each(|item| event(item.event));
        }
        1 => {
            let (topic, payload) = body.split_at(body.iter().position(|b| *b == b'\n').unwrap_or(body.len()));
            let topic = String::from_utf8_lossy(topic);
            if let Ok(read) = read_mqtt(&topic, payload, &FILL) {
                assert!(!read.token.is_empty() && read.token.bytes().all(|b| b.is_ascii_graphic()));
                event(read.event);
            }
        }
        2 => names(text),
        3 => task(body),
        4 => {
            if let Ok(message) = serde_json::from_slice::<SproutMessage>(body) {
                let again = serde_json::to_vec(&message).unwrap();
                assert_eq!(serde_json::from_slice::<SproutMessage>(&again).unwrap(), message);
            }
        }
        _ => {
            let query: Result<EventQuery, _> = serde_json::from_slice(body);
            if let Ok(query) = query
                && let Ok(read) = Event::from_query(&query, body.to_vec(), &FILL)
            {
                event(read);
            }
            let _ = repair_time(text.parse().ok(), FILL.now);
        }
    }
}

fn event(event: Event) {
    assert!(event.time.millis().abs_diff(FILL.now.millis()) <= w3bstream_wire::legacy::TIME_TOLERANCE_MS);
    assert!(w3bstream_types::check_event_id(&event.event_id).is_ok());
    assert_eq!(event.event_id, event.event_id.to_ascii_lowercase());
    let _ = event.submission("token".to_owned());
}

fn names(text: &str) {
    assert!(event_type_of(text).is_ok(), "{text:?} is no event type");
    assert_eq!(fold_name(text), fold_name(&fold_name(text)), "a folded name is folded again");
    assert_eq!(publisher_of(text).is_ok(), !text.is_empty());
    if let Ok(channel) = Channel::parse(text) {
        assert_eq!(channel.text, text);
        assert_eq!(Channel::parse(channel.project.as_str()).unwrap().project, channel.project);
    }
}

fn task(body: &[u8]) {
    let Ok(task) = Task::parse(body) else { return };
    assert!(task.nonce > 0 && !task.project_id.is_empty());
    let unsigned = task.unsigned_json();
    serde_json::from_str::<Value>(&unsigned).expect("what is signed is JSON");
    let open = unsigned.strip_suffix('}').unwrap();
    let again = format!("{open},\"signature\":\"0x{}\"}}", hex::encode(task.signature));
    // Hex digits of JSON are signed as that JSON, which is a payload of its own if it is an object or a list.
    let other = serde_json::from_slice::<Value>(&task.payload)
        .is_ok_and(|json| !json.is_object() && !json.is_array());
    if !other {
        let again = Task::parse(again.as_bytes()).expect("what is signed is a task");
        assert_eq!(again.unsigned_json(), unsigned, "the signed text of a task changes");
    }
    let hash = task.hash(&[]).expect("no member is asked for");
    assert!(task.signers(&hash).len() <= 2);
    let _ = task.hash(&["timestamp".to_owned(), "a.b".to_owned()]);
}
