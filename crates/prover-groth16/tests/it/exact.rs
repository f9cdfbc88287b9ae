//! Our proofs and snarkjs's are worth the same.

use std::fs;

use ark_bn254::{Bn254, Fq, Fq2, Fr, G1Affine, G2Affine};
use ark_ff::PrimeField as _;
use ark_groth16::{Groth16, prepare_verifying_key};
use serde_json::Value;
use w3bstream_prover::{FieldElement, MODULUS, Proof};
use w3bstream_prover_groth16::{VerifyingKey, prove};

use crate::day::{KEY, PROGRAM, VKEY, ZKEY_BYTES, decimal, examples};

#[test]
fn statement_and_private_json_make_the_signals_of_the_examples() {
    for example in examples() {
        let (public, inputs) = example.signals();
        let expected: Vec<_> = example.json["public"].as_array().unwrap().iter().map(decimal).collect();
        assert_eq!(public, expected, "{}", example.name);
        let input = example.json["input"].as_object().unwrap();
        assert_eq!(inputs.len(), input.len());
        for (name, values) in inputs {
            let expected = match &input[&name] {
                Value::Array(all) => all.iter().map(decimal).collect(),
                one => vec![decimal(one)],
            };
            assert_eq!(values, expected, "{} of {}", name, example.name);
        }
    }
}

/// The key in snarkjs's text, read by the test on its own.
fn ark_key() -> ark_groth16::VerifyingKey<Bn254> {
    let json: Value = serde_json::from_str(&fs::read_to_string(VKEY).unwrap()).unwrap();
    let fq = |v: &Value| v.as_str().unwrap().parse::<Fq>().unwrap();
    let g1 = |v: &Value| G1Affine::new(fq(&v[0]), fq(&v[1]));
    let fq2 = |v: &Value| Fq2::new(fq(&v[0]), fq(&v[1]));
    let g2 = |v: &Value| G2Affine::new(fq2(&v[0]), fq2(&v[1]));
    ark_groth16::VerifyingKey {
        alpha_g1: g1(&json["vk_alpha_1"]),
        beta_g2: g2(&json["vk_beta_2"]),
        gamma_g2: g2(&json["vk_gamma_2"]),
        delta_g2: g2(&json["vk_delta_2"]),
        gamma_abc_g1: json["IC"].as_array().unwrap().iter().map(g1).collect(),
    }
}

fn ark_proof(proof: &Proof) -> ark_groth16::Proof<Bn254> {
    let [ax, ay, bx1, bx0, by1, by0, cx, cy] = proof.words().map(|w| Fq::from_be_bytes_mod_order(&w));
    ark_groth16::Proof {
        a: G1Affine::new(ax, ay),
        b: G2Affine::new(Fq2::new(bx0, bx1), Fq2::new(by0, by1)),
        c: G1Affine::new(cx, cy),
    }
}

#[test]
fn every_example_is_proven_and_others_accept_it() {
    let ark = prepare_verifying_key(&ark_key());
    for example in examples() {
        let (public, inputs) = example.signals();
        let witness = PROGRAM.run(&inputs).unwrap();
        assert!(witness.has_public(&public), "{}", example.name);
        let proof = prove(&KEY, &witness).unwrap();
        assert!(KEY.verifying().verify(&public, &proof), "{}", example.name);
        let numbers: Vec<_> = public.iter().map(|x| Fr::from_be_bytes_mod_order(&x.to_be_bytes())).collect();
        let verdict = Groth16::<Bn254>::verify_proof(&ark, &ark_proof(&proof), &numbers);
        assert!(verdict.unwrap(), "ark-groth16 refuses our proof of {}", example.name);
    }
}

#[test]
fn snarkjs_s_proofs_verify_and_have_the_bytes_that_contracts_take() {
    let key = VerifyingKey::read(&ZKEY_BYTES).unwrap();
    assert_eq!(&key, KEY.verifying());
    for example in examples() {
        let (proof, (public, _)) = (example.proof(), example.signals());
        let bytes = example.json["proofBytes"].as_str().unwrap();
        assert_eq!(format!("0x{}", hex::encode(proof.as_bytes())), bytes);
        assert!(key.verify(&public, &proof), "{}", example.name);
    }
}

#[test]
fn a_proof_hides_its_witness_behind_fresh_numbers() {
    let witness = PROGRAM.run(&examples()[0].signals().1).unwrap();
    let [one, two] = [(); 2].map(|()| prove(&KEY, &witness).unwrap());
    for (one, two) in one.words().iter().zip(two.words()) {
        assert_ne!(*one, two, "two proofs of one witness share a word");
    }
}

#[test]
fn every_changed_number_word_and_sign_is_refused() {
    let example = &examples()[0];
    let (key, proof, (public, _)) = (KEY.verifying(), example.proof(), example.signals());
    for i in 0..public.len() {
        for change in [1u8, 0x80] {
            let mut bytes = public[i].to_be_bytes();
            bytes[31] ^= change;
            let mut other = public.clone();
            other[i] = FieldElement::from_be_bytes(bytes).unwrap();
            assert!(!key.verify(&other, &proof), "public number {i} can be changed");
        }
    }
    let points = [[0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]];
    for negated in points {
        let mut bytes = *proof.as_bytes();
        for (word, _) in negated.iter().enumerate().filter(|(_, n)| **n == 1) {
            let at = word * 32;
            let y = Fq::from_be_bytes_mod_order(&bytes[at..at + 32]);
            let words = ark_ff::BigInteger::to_bytes_be(&(-y).into_bigint());
            bytes[at..at + 32].copy_from_slice(&words);
        }
        // The points are still on their curves; only the equation notices.
        assert!(!key.verify(&public, &Proof::from_bytes(&bytes).unwrap()), "{negated:?}");
    }
    let mut bytes = *proof.as_bytes();
    bytes.copy_within(192..256, 0);
    assert!(!key.verify(&public, &Proof::from_bytes(&bytes).unwrap()), "c for a");
    for other in examples().iter().skip(1) {
        assert!(!key.verify(&public, &other.proof()), "the proof of {}", other.name);
    }
}

#[test]
fn a_public_number_plus_r_is_no_second_encoding() {
    let (public, _) = examples()[0].signals();
    for x in public {
        let (mut sum, mut carry) = (x.to_be_bytes(), 0u16);
        for (byte, m) in sum.iter_mut().zip(MODULUS).rev() {
            carry += u16::from(*byte) + u16::from(m);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert_eq!(carry, 0, "x + r fits into a word, so that somebody may send it");
        assert!(FieldElement::from_be_bytes(sum).is_err());
    }
}
