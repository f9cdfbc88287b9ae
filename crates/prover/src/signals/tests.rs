use proptest::prelude::*;
use w3bstream_types::{Address, Digest, ProofRule};

use super::*;
use crate::MODULUS;

fn settlement(fields: &[&str]) -> Settlement {
    Settlement {
        name: "day".parse().unwrap(),
        chain_id: 31337,
        executor: Address::from_bytes([1; 20]),
        contract: Address::from_bytes([2; 20]),
        fields: fields.iter().map(|f| f.parse().unwrap()).collect(),
        proof: Some(ProofRule {
            system: "groth16-bn254".into(),
            witness: Digest::of(b"wasm"),
            key: Digest::of(b"zkey"),
            private: "witness".into(),
            batch: None,
        }),
    }
}

fn int(value: i128) -> [u8; 32] {
    let mut word = [if value < 0 { 0xff } else { 0 }; 32];
    word[16..].copy_from_slice(&value.to_be_bytes());
    word
}

fn decimal(text: &str) -> FieldElement {
    FieldElement::from_decimal(text).unwrap()
}

#[test]
fn every_type_makes_its_numbers() {
    let s = settlement(&["bytes32 device", "int32 lo", "uint8 n", "bool ok", "address to", "uint256 c"]);
    let mut device = [0x11; 32];
    device[16..].fill(0x22);
    let mut to = [0; 32];
    to[12..].fill(0xab);
    let statement = [device, int(-2500), int(24), int(1), to, int(77)].concat();
    let (public, inputs) = public_signals(&s, &statement).unwrap();
    let high = FieldElement::from(u128::from_be_bytes([0x11; 16]));
    let low = FieldElement::from(u128::from_be_bytes([0x22; 16]));
    let to = FieldElement::from_be_bytes(to).unwrap();
    assert_eq!(public, [high, low, decimal("-2500"), decimal("24"), decimal("1"), to, decimal("77")]);
    assert_eq!(inputs[0], ("device".into(), vec![high, low]));
    assert_eq!(inputs[5], ("c".into(), vec![decimal("77")]));
    assert_eq!(inputs.len(), 6);
}

#[test]
fn a_number_beyond_the_field_is_refused() {
    let s = settlement(&["uint256 c"]);
    let error = public_signals(&s, &MODULUS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Signals);
    assert!(error.to_string().contains("uint256 c"), "{error}");
    let mut below = MODULUS;
    below[31] -= 1;
    assert_eq!(public_signals(&s, &below).unwrap().0, [decimal("-1")]);
    // The lowest int256 has the magnitude 2^255, which is beyond r.
    let s = settlement(&["int256 x"]);
    let mut lowest = [0; 32];
    lowest[0] = 0x80;
    assert!(public_signals(&s, &lowest).is_err());
    assert_eq!(public_signals(&s, &[0xff; 32]).unwrap().0, [decimal("-1")]);
}

#[test]
fn private_signals_follow_the_public_ones() {
    let s = settlement(&["int32 lo"]);
    let private = br#"{"salt": "99", "readings": ["-1250", "0"]}"#;
    let (public, inputs) = signals(&s, &int(-1250), private).unwrap();
    assert_eq!(public, [decimal("-1250")]);
    let expected: Signals = vec![
        ("lo".into(), vec![decimal("-1250")]),
        ("salt".into(), vec![decimal("99")]),
        ("readings".into(), vec![decimal("-1250"), FieldElement::ZERO]),
    ];
    assert_eq!(inputs, expected);
}

#[test]
fn other_json_is_refused_without_repeating_it() {
    let s = settlement(&["int32 lo"]);
    for bad in [
        r#"{"salt": "999333", "salt": "999333"}"#,
        r#"{"salt": ["999333"], "lo": "1"}"#,
        r#"{"salt": 999333}"#,
        r#"{"salt": "0999333"}"#,
        r#"{"salt": "999333x"}"#,
        r#"{"salt": [["999333"]]}"#,
        r#"{"salt": [999333]}"#,
        r#"{"salt": {"999333": "1"}}"#,
        r#"{"salt": null}"#,
        r#"["999333"]"#,
        r#""999333""#,
        r#"{"salt": "999333"} 1"#,
        r#"{"salt": "999333""#,
        "",
    ] {
        let error = signals(&s, &int(1), bad.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Signals, "{bad}");
        assert!(!error.to_string().contains("999333"), "{error}");
    }
    let escaped = r#"{"lo": "1"}"#.replace('l', "\\u006c");
    let error = signals(&s, &int(1), escaped.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("field of the statement"), "{error}");
}

#[test]
fn limits_are_reached() {
    let s = settlement(&["int32 lo"]);
    let object = |n: usize| {
        let pairs: Vec<_> = (0..n).map(|i| format!("\"s{i}\":\"{i}\"")).collect();
        format!("{{{}}}", pairs.join(","))
    };
    assert!(signals(&s, &int(1), object(MAX_SIGNALS).as_bytes()).is_ok());
    assert!(signals(&s, &int(1), object(MAX_SIGNALS + 1).as_bytes()).is_err());
    let array = |n: usize| format!("{{\"a\":[{}]}}", vec!["\"1\""; n].join(","));
    assert!(signals(&s, &int(1), array(MAX_VALUES).as_bytes()).is_ok());
    assert!(signals(&s, &int(1), array(MAX_VALUES + 1).as_bytes()).is_err());
    let long = format!("{}{{}}", " ".repeat(MAX_PRIVATE_BYTES));
    assert!(signals(&s, &int(1), long.as_bytes()).unwrap_err().to_string().contains("the most are"));
    assert!(signals(&s, &int(1), long.trim_start().as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn integers_are_their_decimal_text(x: i128, y: u128) {
        let s = settlement(&["int136 x", "uint128 y"]);
        let mut word = [0; 32];
        word[16..].copy_from_slice(&y.to_be_bytes());
        let (public, _) = public_signals(&s, &[int(x), word].concat()).unwrap();
        prop_assert_eq!(public, vec![decimal(&x.to_string()), decimal(&y.to_string())]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = signals(&settlement(&["int32 lo"]), &int(1), &bytes);
    }
}
