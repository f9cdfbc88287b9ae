//! Every message comes back from its bytes, and what is no message is refused without a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use w3bstream_types::{
    Algorithm, Did, Digest, Draft, Envelope, Form, Jws, MAX_PAYLOAD_BYTES, ProjectId, Record, SecretKey,
    Sequence, Timestamp,
};
use w3bstream_wire::{
    CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE, decode_envelope, decode_message, encode_envelope,
};

fn key() -> SecretKey {
    SecretKey::from_bytes(Algorithm::EdDSA, &[3; 32]).unwrap()
}

fn draft() -> impl Strategy<Value = Draft> {
    (any::<[u8; 32]>(), "[a-z0-9-]{1,63}", any::<u64>(), any::<u64>(), vec(any::<u8>(), 0..200)).prop_map(
        |(audience, event_type, sequence, time, payload)| Draft {
            audience: ProjectId(Digest::from_bytes(audience)),
            key: Did::key(&key().public()).default_key_id(),
            event_type: event_type.parse().unwrap(),
            sequence: Sequence::from_u64(sequence),
            time: Timestamp(time),
            payload,
        },
    )
}

fn envelope() -> impl Strategy<Value = Envelope> {
    (draft(), any::<[u8; 16]>()).prop_map(|(draft, salt)| draft.sign_envelope(salt, &key()))
}

fn sample() -> Envelope {
    let did = Did::key(&key().public());
    let draft = Draft {
        audience: ProjectId(Digest::of(b"project")),
        key: did.default_key_id(),
        event_type: "temperature".parse().unwrap(),
        sequence: Sequence::new(1, 7),
        time: Timestamp(1_700_000_000_000),
        payload: b"21.5".to_vec(),
    };
    draft.sign_envelope([5; 16], &key())
}

/// The fields of an encoded envelope, each as its own bytes.
fn fields(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let value = if rest[0] & 7 == 2 {
            let (len, digits) = match rest[1] {
                n if n < 0x80 => (usize::from(n), 1),
                n => (usize::from(n & 0x7f) | usize::from(rest[2]) << 7, 2),
            };
            digits + len
        } else {
            rest[1..].iter().take_while(|b| **b & 0x80 != 0).count() + 1
        };
        let (field, after) = rest.split_at(1 + value);
        out.push(field.to_vec());
        rest = after;
    }
    out
}

fn refused(bytes: &[u8], why: &str) {
    let error = decode_message(Some(CONTENT_TYPE_ENVELOPE), bytes).unwrap_err().to_string();
    assert!(error.contains(why), "{error}, not {why}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn envelopes_come_back(envelope in envelope()) {
        let bytes = encode_envelope(&envelope);
        let record = Record::new(Form::Envelope(envelope));
        for hint in [None, Some(CONTENT_TYPE_ENVELOPE), Some("application/octet-stream")] {
            prop_assert_eq!(&decode_message(hint, &bytes).unwrap(), &record);
        }
        prop_assert!(record.verify(&key().public()).is_ok());
        prop_assert!(decode_message(Some(CONTENT_TYPE_JOSE), &bytes).is_err());
    }

    #[test]
    fn jws_come_back(draft in draft()) {
        let draft = Draft { time: Timestamp(draft.time.0 / 1000), ..draft };
        let text = draft.sign_jws(&key());
        let record = Record::new(Form::Jws(Jws::parse(&text).unwrap()));
        for hint in [None, Some("application/jose"), Some(" Application/JOSE ; charset=us-ascii"), Some("text/plain")] {
            prop_assert_eq!(&decode_message(hint, text.as_bytes()).unwrap(), &record);
        }
        prop_assert!(decode_message(Some(CONTENT_TYPE_ENVELOPE), text.as_bytes()).is_err());
    }

    #[test]
    fn the_order_of_the_fields_is_free_and_the_id_stays(envelope in envelope(), seed in any::<u64>()) {
        let bytes = encode_envelope(&envelope);
        let mut parts = fields(&bytes);
        parts.sort_by_key(|p| Digest::tagged("shuffle", &[&seed.to_be_bytes(), p]));
        let record = decode_message(None, &parts.concat()).unwrap();
        prop_assert_eq!(record.id(), decode_message(None, &bytes).unwrap().id());
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode_message(None, &bytes);
        let _ = decode_message(Some(CONTENT_TYPE_JOSE), &bytes);
    }

    #[test]
    fn damaged_bytes_are_refused_or_another_message(envelope in envelope(), at in any::<usize>(), flip in 1..=255u8) {
        let bytes = encode_envelope(&envelope);
        let mut other = bytes.clone();
        let at = at % bytes.len();
        other[at] ^= flip;
        if let Ok(record) = decode_message(None, &other) {
            // It can be the same message only if nothing but the signature changed; and then it is no valid one.
            let same = record.id() == decode_message(None, &bytes).unwrap().id();
            prop_assert!(record.verify(&key().public()).is_err(), "changed byte {}, same id: {}", at, same);
        }
        prop_assert!(decode_message(None, &bytes[..at]).is_err());
    }
}

#[test]
fn unknown_and_repeated_fields_are_refused() {
    let bytes = encode_envelope(&sample());
    decode_envelope(&bytes).unwrap();
    let with = |tail: &[u8]| [&bytes[..], tail].concat();
    refused(&with(&[0x50, 1]), "unknown field 10");
    refused(&with(&[0x82, 0x7d, 0]), "unknown field");
    refused(&with(&[0x00, 0]), "unknown field 0");
    refused(&with(&[0x30, 1]), "field 6 stands twice");
    refused(&with(&[0x42, 1, b'x']), "field 8 stands twice");
    refused(&with(&[0x42, 9, b'x']), "field 8 stands twice");
    refused(&with(&[0x35, 1, 2, 3, 4]), "field 6 has wire type 5, not 0");
    refused(&with(&[0x43, 0x44]), "field 8 has wire type 3, not 2");
    for part in fields(&bytes) {
        refused(&with(&part), "stands twice");
    }
}

#[test]
fn every_field_but_zeros_must_be_there_and_of_its_length() {
    let parts = fields(&encode_envelope(&sample()));
    assert_eq!(parts.len(), 9);
    let without = |n: u8| -> Vec<u8> {
        parts.iter().filter(|p| p[0] >> 3 != n).flat_map(|p| p.iter().copied()).collect()
    };
    for (field, why) in [
        (1, "version is 0, not 1"),
        (2, "audience must be 32 bytes, has 0"),
        (3, "key id"),
        (4, "event type"),
        (7, "salt must be 16 bytes, has 0"),
        (9, "signature must be 64 bytes, has 0"),
    ] {
        refused(&without(field), why);
    }
    // A device without a clock, a first message, an empty payload: zeros, which protobuf leaves away.
    for field in [5, 6, 8] {
        decode_envelope(&without(field)).unwrap();
    }
    // Other encoders write them.
    let mut written = without(6);
    written.extend([0x30, 0]);
    assert_eq!(decode_envelope(&written).unwrap().header().time, Timestamp::NONE);
}

#[test]
fn numbers_are_read_in_one_way() {
    let parts = fields(&encode_envelope(&sample()));
    let rest: Vec<u8> = parts[1..].concat();
    let with_version = |bytes: &[u8]| [&[0x08][..], bytes, &rest].concat();
    assert!(decode_envelope(&with_version(&[1])).is_ok());
    refused(&with_version(&[2]), "version is 2, not 1");
    // 2^32 + 1, of which a 32-bit reader would keep the 1.
    refused(&with_version(&[0x81, 0x80, 0x80, 0x80, 0x10]), "version is out of range");
    // Eleven bytes, and ten with more than 64 bits.
    refused(&with_version(&[0x81; 11]), "above 2^64");
    refused(&with_version(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), "above 2^64");
    // A length that goes on for ever.
    refused(&[0x42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "cut off");
    refused(&[], "version is 0");
}

#[test]
fn payloads_above_the_limit_are_refused() {
    let mut draft = Draft {
        audience: ProjectId(Digest::of(b"project")),
        key: Did::key(&key().public()).default_key_id(),
        event_type: "t".parse().unwrap(),
        sequence: Sequence::default(),
        time: Timestamp::NONE,
        payload: vec![0; MAX_PAYLOAD_BYTES],
    };
    assert!(decode_envelope(&encode_envelope(&draft.clone().sign_envelope([0; 16], &key()))).is_ok());
    draft.payload.push(0);
    refused(&encode_envelope(&draft.sign_envelope([0; 16], &key())), "payload is larger than 8 MiB");
    refused(&vec![0x42; MAX_PAYLOAD_BYTES + 10_000], "larger than 8 MiB");
}

#[test]
fn text_that_is_no_utf8_is_refused() {
    let mut bytes = encode_envelope(&sample());
    let at = bytes.windows(4).position(|w| w == b"did:").unwrap();
    bytes[at] = 0xff;
    refused(&bytes, "no protobuf message");
    assert!(decode_message(None, b"eyJ\xff").is_err());
    assert!(decode_message(Some(CONTENT_TYPE_JOSE), b"\xff").is_err());
}
