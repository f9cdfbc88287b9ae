//! Keys and witnesses that are not what they should be.

use w3bstream_prover::ErrorKind;
use w3bstream_prover_groth16::{Program, ProvingKey, VerifyingKey, WitnessLimits};

use crate::day::{KEY, PROGRAM, WASM_BYTES, ZKEY_BYTES, disorder, examples};

/// Where each section's body begins, and its length, by its type.
fn sections() -> Vec<(u32, usize, usize)> {
    let (zkey, mut at, mut found) = (&ZKEY_BYTES[..], 12, Vec::new());
    while at < zkey.len() {
        let kind = u32::from_le_bytes(zkey[at..at + 4].try_into().unwrap());
        let length = usize::try_from(u64::from_le_bytes(zkey[at + 4..at + 12].try_into().unwrap())).unwrap();
        found.push((kind, at + 12, length));
        at += 12 + length;
    }
    assert_eq!(found.len(), 10);
    found
}

fn refused(zkey: &[u8], what: &str) -> String {
    let error = ProvingKey::read(zkey).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Artefact, "{what}");
    error.to_string()
}

fn body(kind: u32) -> (usize, usize) {
    let (_, at, length) = sections().into_iter().find(|(k, _, _)| *k == kind).unwrap();
    (at, length)
}

#[test]
fn a_changed_byte_in_any_point_or_length_is_noticed() {
    for kind in 1..=9 {
        let (at, length) = body(kind);
        // In the first point or number of the section; the length before it; the last byte.
        let mut places = vec![at, at - 8, at - 1, at - 12];
        if kind != 4 {
            places.push(at + length - 1);
        }
        for place in places {
            let mut zkey = ZKEY_BYTES.clone();
            zkey[place] ^= 0x40;
            refused(&zkey, &format!("byte {place} of section {kind}"));
        }
    }
}

#[test]
fn cut_off_and_prolonged_keys_are_refused() {
    for length in [0, 3, 4, 11, 12, 20, 24, 500, 5000, ZKEY_BYTES.len() - 1] {
        refused(&ZKEY_BYTES[..length], "a shorter file");
        assert!(VerifyingKey::read(&ZKEY_BYTES[..length]).is_err(), "{length}");
    }
    let longer = [&ZKEY_BYTES[..], &[0]].concat();
    assert!(refused(&longer, "a longer file").contains("too many"), "a longer file");
}

#[test]
fn counts_and_indices_are_checked() {
    let with = |at: usize, value: u32| {
        let mut zkey = ZKEY_BYTES.clone();
        zkey[at..at + 4].copy_from_slice(&value.to_le_bytes());
        zkey
    };
    let (header, _) = body(2);
    for (what, at) in [("signals", 72), ("public numbers", 76), ("domain", 80)] {
        for value in [0, 1, 3, 8192, u32::MAX] {
            refused(&with(header + at, value), &format!("{value} {what}"));
        }
    }
    let (coefficients, _) = body(4);
    for (what, at) in [("count", 0), ("matrix", 4), ("constraint", 8), ("signal", 12)] {
        refused(&with(coefficients + at, u32::MAX), what);
    }
    refused(&with(4, 2), "another version");
    refused(&with(8, 9), "another count of sections");
    let (first, _) = body(1);
    refused(&with(first, 2), "another proof system");
}

#[test]
fn zero_is_no_point_of_the_key_itself() {
    let (header, length) = body(2);
    for point in [84, 148, 212, 340, 468, 532] {
        let mut zkey = ZKEY_BYTES.clone();
        let bytes = if [212, 340, 532].contains(&point) { 128 } else { 64 };
        assert!(point + bytes <= length);
        zkey[header + point..][..bytes].fill(0);
        assert!(refused(&zkey, "zero").contains("no point of"));
        assert!(VerifyingKey::read(&zkey).is_err());
    }
}

#[test]
fn signals_that_the_circuit_does_not_have_are_refused() {
    let (_, inputs) = examples()[0].signals();
    let change = |f: &dyn Fn(&mut w3bstream_prover::Signals)| {
        let mut inputs = inputs.clone();
        f(&mut inputs);
        let error = PROGRAM.run(&inputs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Signals);
        error.to_string()
    };
    assert!(change(&|s| s[2].0 = "dya".into()).contains("\"dya\""));
    assert!(change(&|s| s.truncate(5)).contains("are given"));
    assert!(change(&|s| s[0].1.truncate(1)).contains("2 numbers, not 1"));
    assert!(change(&|s| s.push(("extra".into(), vec![]))).contains("\"extra\""));
    assert!(change(&|s| disorder(s)).contains("does not satisfy"));
}

#[test]
fn every_changed_signal_fails_in_the_program() {
    let (_, inputs) = examples()[1].signals();
    for i in 0..inputs.len() {
        let mut inputs = inputs.clone();
        let value = &mut inputs[i].1[0];
        let mut bytes = value.to_be_bytes();
        bytes[31] ^= 1;
        *value = w3bstream_prover::FieldElement::from_be_bytes(bytes).unwrap();
        let error = PROGRAM.run(&inputs).expect_err(&inputs[i].0);
        assert!(error.to_string().contains("does not satisfy"), "{error}");
    }
}

#[test]
fn a_witness_has_as_many_signals_as_the_key_and_no_more_than_allowed() {
    let inputs = examples()[0].signals().1;
    let limits = WitnessLimits { signals: KEY.signals(), ..WitnessLimits::default() };
    let witness = Program::compile(&WASM_BYTES, limits).unwrap().run(&inputs).unwrap();
    assert_eq!(witness.to_wtns().len(), 76 + 32 * KEY.signals());
    let limits = WitnessLimits { signals: KEY.signals() - 1, ..limits };
    let error = Program::compile(&WASM_BYTES, limits).unwrap().run(&inputs).unwrap_err();
    assert!(error.to_string().contains("the most are"), "{error}");
}
