//! What contracts see: EIP-712 hashes, `ecrecover` signatures and ABI encodings, against vectors that other
//! implementations made (`fixtures/ethereum.json` says which).

use serde_json::Value;
use w3bstream_types::*;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/ethereum.json")).unwrap()
}

fn hex_of(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn statements_hash_and_sign_as_eip_712_says() {
    let fixture = fixture();
    let cases = fixture["statements"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let statement: Statement = serde_json::from_value(case["statement"].clone()).unwrap();
        assert_eq!(statement.signing_hash().to_vec(), hex_of(&case["signing_hash"]));
        let secret: [u8; 32] = hex_of(&case["secret"]).try_into().unwrap();
        let key = SecretKey::from_bytes(Algorithm::ES256K, &secret).unwrap();
        let address: Address = case["address"].as_str().unwrap().parse().unwrap();
        assert_eq!(Address::of_key(&key.public()).unwrap(), address);
        let signature = hex_of(&case["signature"]);
        assert_eq!(statement.sign(&key).unwrap().to_vec(), signature);
        assert_eq!(Address::recover(&statement.signing_hash(), &signature).unwrap(), address);
    }
}

#[test]
fn every_field_of_a_statement_is_hashed() {
    let case = &fixture()["statements"][1]["statement"];
    let original: Statement = serde_json::from_value(case.clone()).unwrap();
    for (name, value) in case.as_object().unwrap() {
        let mut other = case.clone();
        let text = value.as_str().unwrap();
        let last = if text.ends_with('1') { "2" } else { "1" };
        other[name] = format!("{}{last}", &text[..text.len() - 1]).into();
        let other: Statement = serde_json::from_value(other).unwrap();
        assert_ne!(other.signing_hash(), original.signing_hash(), "{name}");
    }
}

#[test]
fn outputs_are_encoded_as_solidity_does() {
    let fixture = fixture();
    let cases = fixture["outputs"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    let kinds =
        [OutputKind::Result, OutputKind::Rejected, OutputKind::Control, OutputKind::Mqtt, OutputKind::Metric];
    for case in cases {
        let number = |name: &str| case[name].as_str().unwrap().parse::<u64>().unwrap();
        let output = Output {
            kind: kinds.into_iter().find(|k| *k as u64 == case["kind"].as_u64().unwrap()).unwrap(),
            chain_id: number("chain_id"),
            target: hex_of(&case["target"]),
            data: hex_of(&case["data"]),
        };
        assert_eq!(output.abi_encode(number("index")), hex_of(&case["abi"]));
    }
}

#[test]
fn ethereum_signatures_have_one_form() {
    let case = &fixture()["statements"][0];
    let hash: [u8; 32] = hex_of(&case["signing_hash"]).try_into().unwrap();
    let good = hex_of(&case["signature"]);
    let refused = |bytes: &[u8], why: &str| {
        let error = Address::recover(&hash, bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    let mut wrong_v = good.clone();
    wrong_v[64] -= 27;
    refused(&wrong_v, "v that is not 27 or 28");
    refused(&good[..64], "65 bytes");
    // (r, n - s) with the other v recovers to the same key, and is refused.
    let s = k256::ecdsa::Signature::from_slice(&good[..64]).unwrap();
    let high = k256::ecdsa::Signature::from_scalars(s.r().to_bytes(), (-*s.s()).to_bytes()).unwrap();
    let mut twin = high.to_bytes().to_vec();
    twin.push(55 - good[64]);
    refused(&twin, "high s");
}
