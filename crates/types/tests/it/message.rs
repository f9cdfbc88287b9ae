//! What a device signs: every field, and nothing twice.

use std::collections::HashMap;

use proptest::prelude::*;
use w3bstream_types::*;

use crate::{sample, strategies as s};

/// Changes one field of a draft to another value.
fn change(draft: &mut Draft, field: usize) {
    match field {
        0 => draft.audience = ProjectId(Digest::of(draft.audience.digest().as_bytes())),
        1 => draft.key = Did::key(&sample::key(Algorithm::EdDSA, 77).public()).default_key_id(),
        2 => {
            let other = if draft.event_type.as_str() == "a" { "b" } else { "a" };
            draft.event_type = other.parse().unwrap();
        }
        3 => draft.sequence = Sequence::from_u64(draft.sequence.as_u64().wrapping_add(1)),
        4 => draft.time = Timestamp(draft.time.0.wrapping_add(1000)),
        _ => draft.payload.push(0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_envelope_signature_covers_every_field(
        mut draft in s::draft(), key in s::secret(), salt in any::<[u8; 16]>(), field in 0..7usize,
    ) {
        let public = key.public();
        let envelope = draft.clone().sign_envelope(salt, &key);
        let record = Record::new(Form::Envelope(envelope.clone()));
        prop_assert!(record.verify(&public).is_ok());
        let mut salt = salt;
        if field == 6 { salt[3] ^= 1 } else { change(&mut draft, field) }
        let other = Record::new(Form::Envelope(Envelope::new(draft, salt, *envelope.signature())));
        prop_assert!(other.verify(&public).is_err(), "field {}", field);
        prop_assert_ne!(other.id(), record.id());
    }

    #[test]
    fn the_jws_signature_covers_every_claim(mut draft in s::draft(), key in s::secret(), field in 0..6usize) {
        draft.time = Timestamp(draft.time.0 % (1 << 50));
        let public = key.public();
        let text = draft.clone().sign_jws(&key);
        let record = Record::new(Form::Jws(Jws::parse(&text).unwrap()));
        prop_assert!(record.verify(&public).is_ok());
        change(&mut draft, field);
        // The other message with this one's signature.
        let forged = draft.sign_jws(&key);
        let signature = text.rsplit('.').next().unwrap();
        let forged = format!("{}.{signature}", forged.rsplit_once('.').unwrap().0);
        let other = Record::new(Form::Jws(Jws::parse(&forged).unwrap()));
        prop_assert!(other.verify(&public).is_err(), "field {}", field);
        prop_assert_ne!(other.id(), record.id());
    }

    #[test]
    fn a_signature_is_not_part_of_the_id(draft in s::draft(), a in s::signature(), b in s::signature()) {
        let id = |sig| Record::new(Form::Envelope(Envelope::new(draft.clone(), [1; 16], sig))).id();
        prop_assert_eq!(id(a), id(b));
    }

    #[test]
    fn no_two_messages_share_signed_bytes(headers in proptest::collection::vec(s::header(), 2..30)) {
        let mut seen = HashMap::new();
        for header in headers {
            // The signed bytes lead back to the header, so they are those of no other.
            let bytes = header.to_canonical();
            prop_assert_eq!(&MessageHeader::from_canonical(&bytes).unwrap(), &header);
            if let Some(before) = seen.insert(bytes, header.clone()) {
                prop_assert_eq!(before, header);
            }
        }
    }

    #[test]
    fn salt_and_payload_are_hashed_apart(salt in any::<[u8; 16]>(), payload in proptest::collection::vec(any::<u8>(), 1..40)) {
        let joined = [&salt[..], &payload].concat();
        let digest = payload_digest(&salt, &payload);
        prop_assert_ne!(digest, payload_digest(&salt[..15], &joined[15..]));
        prop_assert_ne!(digest, payload_digest(&[], &joined));
        prop_assert_ne!(digest, payload_digest(&joined, &[]));
    }

    #[test]
    fn text_forms_come_back(header in s::header(), did in s::did()) {
        let json = serde_json::to_string(&header).unwrap();
        prop_assert_eq!(serde_json::from_str::<MessageHeader>(&json).unwrap(), header.clone());
        for source in [SourceId::Device(did), SourceId::Publisher("gateway-1".parse().unwrap())] {
            prop_assert_eq!(source.to_string().parse::<SourceId>().unwrap(), source);
        }
        prop_assert_eq!(header.audience.to_string().parse::<ProjectId>().unwrap(), header.audience);
    }
}

#[test]
fn the_forms_never_share_signed_bytes() {
    // An envelope's signing input is CBOR, whose first byte is no ASCII; a JWS is ASCII.
    let key = sample::key(Algorithm::EdDSA, 2);
    let draft = sample::draft(&Did::key(&key.public()), 1);
    let jws = Jws::parse(&draft.clone().sign_jws(&key)).unwrap();
    let envelope = draft.sign_envelope([0; 16], &key);
    assert!(!envelope.header().to_canonical()[0].is_ascii());
    assert!(jws.signing_input().is_ascii());
    // What else is signed with device, owner or node keys starts otherwise: see `Digest::tagged` and the
    // domain in each canonical value.
    let tx = ControlTx::sign(sample::project(), 1, Control::RevokeDevice(sample::owner()), &key);
    assert_ne!(tx.signing_input()[..8], envelope.header().to_canonical()[..8]);
}

#[test]
fn a_changed_payload_is_not_the_envelope_of_its_header() {
    let (record, _) = sample::envelope(Algorithm::EdDSA, 2);
    let Form::Envelope(envelope) = record.form() else { unreachable!() };
    let mut e = Encoder::new();
    e.array(6).text(Envelope::DOMAIN).u64(1).item(envelope.header()).bytes(envelope.salt());
    e.bytes(b"another").bytes(envelope.signature());
    assert!(Envelope::from_canonical(&e.into_bytes()).is_err());
}

#[test]
fn payloads_above_the_limit_are_refused() {
    let key = sample::key(Algorithm::EdDSA, 2);
    let mut draft = sample::draft(&Did::key(&key.public()), 1);
    draft.payload = vec![0; MAX_PAYLOAD_BYTES];
    let largest = draft.clone().sign_envelope([0; 16], &key);
    assert!(Envelope::from_canonical(&largest.to_canonical()).is_ok());
    assert!(Jws::parse(&draft.clone().sign_jws(&key)).is_ok());
    draft.payload.push(0);
    let over = draft.clone().sign_envelope([0; 16], &key);
    assert!(Envelope::from_canonical(&over.to_canonical()).is_err());
    assert!(Jws::parse(&draft.sign_jws(&key)).is_err());
}

#[test]
fn tokens_are_checked_and_never_shown() {
    let submission = |token: &str, event_id: &str| Submission::Token {
        token: token.into(),
        event_id: event_id.into(),
        event_type: "temperature".parse().unwrap(),
        time: Timestamp::NONE,
        payload: vec![1],
    };
    let rule = || (sample::project(), "gateway-1".parse().unwrap(), token_hash("secret"));
    let check = |token, event| Verified::by_token(submission(token, event), rule(), Timestamp(1));
    assert_eq!(check("secret", "7").unwrap().trust(), Trust::Token);
    assert!(check("Secret", "7").is_err());
    for id in ["", "a b", "ä", "a\n", &"x".repeat(129)] {
        assert!(check("secret", id).is_err(), "{id:?}");
    }
    assert!(!format!("{:?}", submission("secret", "7")).contains("secret"));
    // The id is of project, publisher and event id, each apart.
    let id = |publisher: &str, event: &str| {
        MessageId::of_token_event(&sample::project(), &publisher.parse().unwrap(), event)
    };
    assert_ne!(id("ab", "c"), id("a", "bc"));
}

#[test]
fn refusals_have_stable_codes() {
    for kind in RefusalKind::ALL {
        assert_eq!(kind.code().parse::<RefusalKind>().unwrap(), kind);
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
    }
    assert!("Malformed".parse::<RefusalKind>().is_err());
    let transient: Vec<_> =
        RefusalKind::ALL.into_iter().filter(|k| !k.is_permanent()).map(RefusalKind::code).collect();
    assert_eq!(transient, ["overloaded", "shutting-down", "storage-failing", "not-ready"]);
}

#[test]
fn names_have_one_alphabet() {
    for bad in ["", "A", "a_b", "a.b", "a/b", "ä", "a b", "+", "#", &"a".repeat(64)] {
        assert!(bad.parse::<ProjectName>().is_err(), "{bad:?}");
        assert!(bad.parse::<EventType>().is_err(), "{bad:?}");
    }
    assert!("a".repeat(63).parse::<AppletName>().is_ok());
    assert!("0-".parse::<PublisherName>().is_ok());
    let digest = Digest::of(b"x").to_string();
    assert!(digest.to_uppercase().parse::<Digest>().is_err());
    assert!(digest[1..].parse::<Digest>().is_err());
    assert!(format!("0x{}", &digest[2..]).parse::<Digest>().is_err());
}
