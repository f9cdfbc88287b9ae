//! The verifier alone: proofs and keys that are none.

use w3bstream_contracts::{GROTH16_VERIFIER, VerifyingKey, deploy};
use w3bstream_types::{Address, keccak256};

use crate::cold_chain::{ColdChain, Example, KEY, PRIME, plus};
use crate::world::*;

fn verify_call(proof: &[u8], inputs: &[[u8; 32]]) -> Vec<u8> {
    let mut padded = proof.to_vec();
    padded.resize(proof.len().next_multiple_of(32), 0);
    let words = [word(64), word(96 + padded.len() as u64), word(proof.len() as u64)].concat();
    let signature = w3bstream_contracts::function_selector("verify(bytes,uint256[])");
    [&signature[..], &words, &padded, &word(inputs.len() as u64), &inputs.concat()].concat()
}

struct Verifier(ColdChain);

impl Verifier {
    fn ask(&self, proof: &[u8], inputs: &[[u8; 32]]) -> Result<bool, Reverted> {
        let answer = self.0.world.read(self.0.verifier, verify_call(proof, inputs));
        answer.map(|a| number(Ok(a)) == 1)
    }
}

#[test]
fn proofs_of_the_prover_are_true_and_others_false() {
    let verifier = Verifier(ColdChain::new(1));
    let examples = Example::all();
    for example in &examples {
        assert!(verifier.ask(&example.proof, &example.public).unwrap());
    }
    let Example { proof, public, .. } = &examples[0];
    for input in 0..public.len() {
        let mut changed = public.clone();
        changed[input] = word(12_345);
        assert!(!verifier.ask(proof, &changed).unwrap(), "input {input}");
    }
    // Every word of the proof, changed in its last bit: a point that is on no curve.
    for at in 0..8 {
        let mut changed = proof.clone();
        changed[32 * at + 31] ^= 1;
        assert!(!verifier.ask(&changed, public).unwrap(), "word {at}");
    }
    let point = |from: usize| &examples[1].proof[from..][..if from == 64 { 128 } else { 64 }];
    for from in [0, 64, 192] {
        let mut changed = proof.clone();
        changed[from..][..point(from).len()].copy_from_slice(point(from));
        assert!(!verifier.ask(&changed, public).unwrap(), "a point of another proof at {from}");
    }
    assert!(!verifier.ask(&[0; 256], public).unwrap());
    assert!(!verifier.ask(&[0xff; 256], public).unwrap());
}

#[test]
fn coordinates_have_one_form() {
    let verifier = Verifier(ColdChain::new(1));
    let Example { proof, public, .. } = &Example::all()[0];
    for at in 0..8 {
        let mut alias = proof.clone();
        let coordinate: [u8; 32] = alias[32 * at..][..32].try_into().unwrap();
        // The same number modulo the prime.
        alias[32 * at..][..32].copy_from_slice(&plus(coordinate, PRIME));
        assert!(!verifier.ask(&alias, public).unwrap(), "word {at}");
    }
}

#[test]
fn a_point_of_the_curve_outside_the_group_is_refused() {
    let verifier = Verifier(ColdChain::new(1));
    let Example { proof, public, .. } = &Example::all()[0];
    let mut changed = proof.clone();
    changed[64..192].copy_from_slice(&outside_of_the_group());
    assert!(!verifier.ask(&changed, public).unwrap());
}

/// A point of the twist with x = 1 whose order is not the group's.
fn outside_of_the_group() -> Vec<u8> {
    let y = "0d1271953ed9ea0836846e70a1934187998c7f790cb4d7511b7f8da82de048a4\
             2869111d5381f072f8e2728fdb825a51aadd70e52c9830e9ab4b871c0531f1bb";
    [word(0).to_vec(), word(1).to_vec(), hex::decode(y).unwrap()].concat()
}

#[test]
fn inputs_are_counted_and_in_the_field() {
    let verifier = Verifier(ColdChain::new(1));
    let Example { proof, public, .. } = &Example::all()[0];
    refused(verifier.ask(proof, &public[..10]), "InputCount(uint256,uint256)");
    refused(verifier.ask(proof, &[&public[..], &[word(0)]].concat()), "InputCount(uint256,uint256)");
    for input in 0..public.len() {
        let mut alias = public.clone();
        alias[input] = plus(alias[input], crate::cold_chain::ORDER);
        refused(verifier.ask(proof, &alias), "InputTooLarge(uint256)");
    }
    refused(verifier.ask(&proof[..255], public), "ProofLength(uint256)");
    refused(verifier.ask(&[&proof[..], &[0]].concat(), public), "ProofLength(uint256)");
}

#[test]
fn only_keys_of_the_curve_are_deployed() {
    let world = World::new(1);
    let key = VerifyingKey::from_snarkjs(KEY).unwrap();
    let good = deploy::groth16_verifier(&key);
    let verifier: Address = world.deploy(good.clone()).unwrap();
    let hash = world.read(verifier, call("keyHash()", &[])).unwrap();
    assert_eq!(hash, keccak256(key.as_bytes()));
    assert_eq!(number(world.read(verifier, call("inputCount()", &[]))), 11);
    // The key stands at the end of the init code: its length, then alpha.
    let start = good.len() - key.as_bytes().len();
    let point = |number: usize| start + [0, 64, 192, 320, 448, 512][number];
    for number in 0..6 {
        let mut bad = good.clone();
        bad[point(number) + 31] ^= 1;
        let error = world.deploy(bad).unwrap_err();
        assert_eq!(error, call("KeyPoint(uint256)", &[word(number as u64)]));
    }
    let mut bad = good.clone();
    bad[point(2)..][..128].copy_from_slice(&outside_of_the_group());
    assert_eq!(world.deploy(bad).unwrap_err(), call("KeyPoint(uint256)", &[word(2)]));
    for length in [0, 32 * 14, 32 * 15, 32 * 17, 32 * 16 - 1] {
        let mut bad = [GROTH16_VERIFIER.bytecode, &word(32), &word(length)].concat();
        bad.resize(bad.len() + (length as usize).next_multiple_of(32), 0);
        refused(world.deploy(bad), "KeyLength(uint256)");
    }
    names(GROTH16_VERIFIER, "KeyLength");
}
