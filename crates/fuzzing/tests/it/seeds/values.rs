//! Canonical values, receipts, identifiers, messages.

use w3bstream_types::{
    Algorithm, Did, Draft, IntroductionClaims, ProjectId, PublicKey, SecretKey, Sequence, SessionClaims,
    Timestamp, token_hash,
};
use w3bstream_wire::encode_envelope;
use w3bstream_wire::legacy::encode_event;

use super::Seeds;

pub(super) fn key(algorithm: Algorithm, n: u8) -> SecretKey {
    SecretKey::from_bytes(algorithm, &[n; 32]).unwrap()
}

pub(super) fn device() -> Did {
    Did::key(&key(Algorithm::EdDSA, 4).public())
}

pub(super) fn project() -> ProjectId {
    ProjectId::new(&device(), &"kit".parse().unwrap())
}

fn draft(key: &PublicKey, counter: u32) -> Draft {
    Draft {
        audience: project(),
        key: Did::key(key).default_key_id(),
        event_type: "reading".parse().unwrap(),
        sequence: Sequence::new(1, counter),
        time: Timestamp(1_800_000_000_000),
        payload: br#"{"celsius":21}"#.to_vec(),
    }
}

pub(super) fn envelope(counter: u32) -> Vec<u8> {
    let key = key(Algorithm::EdDSA, 4);
    encode_envelope(&draft(&key.public(), counter).sign_envelope([1; 16], &key))
}

pub(super) fn jws(counter: u32) -> String {
    let key = key(Algorithm::EdDSA, 4);
    draft(&key.public(), counter).sign_jws(&key)
}

pub(super) fn session() -> String {
    let node = key(Algorithm::EdDSA, 9);
    let claims = SessionClaims {
        audience: project(),
        device: device(),
        node: Did::key(&node.public()),
        issued: 1_800_000_000,
        expires: 1_800_003_600,
        id: "s-1".into(),
    };
    let input = claims.signing_input().unwrap();
    let signature = node.sign(input.as_bytes());
    w3bstream_types::SessionToken::assemble(&input, &signature).unwrap().compact().to_owned()
}

fn introduction(client: Option<&str>) -> String {
    let claims = IntroductionClaims {
        audience: project(),
        device: device(),
        node: Did::key(&key(Algorithm::EdDSA, 9).public()),
        issued: 1_800_000_000,
        nonce: "n-1".into(),
        client: client.map(str::to_owned),
    };
    claims.sign(&key(Algorithm::EdDSA, 4))
}

pub(super) fn seeds(seeds: &mut Seeds) {
    canonical(seeds);
    identifiers(seeds);
    for (algorithm, n) in [(Algorithm::EdDSA, 4), (Algorithm::ES256, 5), (Algorithm::ES256K, 6)] {
        let key = key(algorithm, n);
        let draft = || draft(&key.public(), n.into());
        seeds.put("jws", draft().sign_jws(&key));
        seeds.put("envelope", encode_envelope(&draft().sign_envelope([n; 16], &key)));
    }
    seeds.put("session", session());
    seeds.put("session", introduction(None));
    seeds.put("session", introduction(Some("pump-7")));
    legacy(seeds);
}

fn canonical(seeds: &mut Seeds) {
    let fixtures = "../types/tests/fixtures";
    let read = |name: &str| std::fs::read(format!("{fixtures}/{name}")).unwrap();
    let all: serde_json::Value = serde_json::from_slice(&read("canonical.json")).unwrap();
    let mut small = 0;
    for case in all["cases"].as_array().unwrap() {
        let bytes = hex::decode(case["hex"].as_str().unwrap()).unwrap();
        if bytes.len() <= 2000 {
            small += 1;
            seeds.put("canonical", bytes);
        }
    }
    assert!(small > 30, "{small}");
    for name in ["receipt-jws.json", "receipt-session.json", "receipt-token.json", "receipt-trigger.json"] {
        seeds.put("receipt_json", read(name));
    }
}

fn identifiers(seeds: &mut Seeds) {
    let public = key(Algorithm::ES256, 5).public();
    for did in
        [device(), Did::key(&public), Did::jwk(&public), "did:web:example.org%3A8443:a".parse().unwrap()]
    {
        seeds.put("did", did.as_str());
        seeds.put("texts", did.as_str());
        seeds.put("texts", did.default_key_id().as_str());
    }
    seeds.put("did", public.to_jwk().to_string());
    seeds.put("did", public.as_bytes());
    seeds.put("texts", token_hash("secret").to_string());
    seeds.texts(
        "texts",
        &[
            "cold-chain-7",
            "1.7",
            "bytes32 device",
            "uint32 day",
            "address",
            "Transfer(address,uint256)",
            "0x00000000000000000000000000000000000000c0",
            "ES256K",
            "too-old",
            "owner",
            "trigger:hourly",
            "token:pump",
            "0x0101010101010101010101010101010101010101010101010101010101010101",
            "17@1",
        ],
    );
}

fn legacy(seeds: &mut Seeds) {
    let batch =
        br#"[{"device_id":"d1","event_type":"T","payload":"{}","timestamp":1800000000},{"device_id":"d2"}]"#;
    seeds.with("legacy_message", 0, batch);
    let event = encode_event(("T", "k", "token"), (1_800_000_000_000, "e-1"), b"x");
    seeds.with("legacy_message", 1, &[b"aid_1_p\n", event.as_slice()].concat());
    seeds.with("legacy_message", 1, b"p/push/tok/ANY/ts=1800000000&id=A-1\nx");
    seeds.with("legacy_message", 2, b"eth_0xab5801a7d398351b8be11c439e05c5b3259aec9b_My_Project");
    seeds.with(
        "legacy_message",
        2,
        "Größe 7 of a name that is much longer than sixty-three characters are".as_bytes(),
    );
    let task = format!(
        r#"{{"nonce":5,"projectID":923,"projectVersion":"v1","payload":{{"timestamp":7,"a":"<x>"}},"signature":"0x{}"}}"#,
        "11".repeat(64)
    );
    seeds.with("legacy_message", 3, task.as_bytes());
    let hex = format!(r#"{{"nonce":1,"projectID":"6","payload":"7b7d","signature":"{}"}}"#, "22".repeat(64));
    seeds.with("legacy_message", 3, hex.as_bytes());
    seeds.with("legacy_message", 4, br#"{"projectID":21,"projectVersion":"0.1","data":"{}"}"#);
    seeds.with("legacy_message", 5, br#"{"eventType":"T","eventID":"e","timestamp":"1800000000"}"#);
    seeds.with("legacy_message", 5, b"1800000000000");
}
