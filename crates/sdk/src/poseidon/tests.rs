use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use std::fs;

use super::*;

fn number(text: &serde_json::Value) -> Field {
    super::field::tests::decimal(text.as_str().unwrap())
}

#[test]
fn known_hashes() {
    // What circomlib's Poseidon(2) gives.
    for (left, right, hash) in [
        (0, 0, "14744269619966411208579211824598458697587494354926760081771325075741142829156"),
        (1, 2, "7853200120776062878684798364095072458815029376092732009249414926327459813530"),
    ] {
        assert_eq!(hash2(Field::from_u64(left), Field::from_u64(right)).to_decimal(), hash);
    }
}

#[test]
fn the_order_of_the_inputs_counts() {
    let (one, two) = (Field::from_u64(1), Field::from_u64(2));
    assert_ne!(hash2(one, two), hash2(two, one));
    assert_ne!(chain("a", &[one, two]), chain("b", &[one, two]));
    assert_ne!(chain("a", &[one]), chain("a", &[one, Field::ZERO]));
    assert_eq!(chain("", &[]), Field::ZERO);
}

#[test]
#[should_panic(expected = "at most 31 bytes")]
fn a_long_domain_is_a_mistake() {
    let _ = chain("12345678901234567890123456789012", &[]);
}

/// The commitments of the example days, which circom's tools have proved.
#[test]
fn the_circuit_agrees() {
    let folder = "../../circuits/cold-chain-day/examples";
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let example: serde_json::Value = serde_json::from_str(&text).unwrap();
        let input = &example["input"];
        let list = |name: &str| input[name].as_array().unwrap().iter().map(number).collect::<Vec<_>>();
        let int = |name: &str| input[name].as_str().unwrap().parse::<u64>().unwrap();
        let from_absolute_zero =
            |r: &serde_json::Value| (r.as_str().unwrap().parse::<i32>().unwrap() + 273_150) as u32;
        let readings: Vec<u32> =
            input["readings"].as_array().unwrap().iter().map(from_absolute_zero).collect();
        let mut items = alloc::vec![number(&input["salt"])];
        items.extend(list("project"));
        items.extend(list("device"));
        items.push(Field::from_u64(int("day") * 256 + int("n")));
        items.extend(readings.chunks(12).map(|word| Field::pack(word, 21).unwrap()));
        let wanted: String = input["commitment"].as_str().unwrap().to_string();
        assert_eq!(chain("w3b/cold-chain/day/1", &items).to_decimal(), wanted);
        seen += 1;
    }
    assert!(seen >= 5, "{seen} examples");
}
