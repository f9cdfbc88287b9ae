//! Parsers of crates that bring a WebAssembly compiler with them.

use w3bstream_prover::{FieldElement, Proof};
use w3bstream_prover_groth16::{Program, ProvingKey, VerifyingKey, WitnessLimits};

pub(crate) fn settings(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        w3bstream_node::fuzzing::settings(text);
    }
}

pub(crate) fn manifest(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        w3bstream_node::fuzzing::manifest(text);
    }
}

pub(crate) fn rpc(bytes: &[u8]) {
    w3bstream_node::fuzzing::rpc(bytes);
}

/// snarkjs's keys, and a proof of nothing under them.
pub(crate) fn proving_key(bytes: &[u8]) {
    let verifying = VerifyingKey::read(bytes);
    let Ok(proving) = ProvingKey::read(bytes) else {
        if let Ok(key) = verifying {
            disprove(&key, bytes);
        }
        return;
    };
    let verifying = verifying.expect("a key to prove with is one to verify with");
    assert_eq!(proving.verifying(), &verifying);
    assert!(proving.signals() > 0 && proving.signals() <= bytes.len() / 64);
    disprove(&verifying, bytes);
}

/// The last bytes of the key, as a proof under it.
fn disprove(key: &VerifyingKey, bytes: &[u8]) {
    let proof = bytes.last_chunk::<256>().and_then(|last| Proof::from_bytes(last).ok());
    let public = vec![FieldElement::from(7_u128); key.public()];
    if let Some(proof) = proof.filter(|_| public.len() < 20) {
        let _ = key.verify(&public, &proof);
        assert!(!key.verify(&[], &proof) || public.is_empty(), "it holds for another number of numbers");
    }
}

/// circom's programs, which are strangers'. Compiling one takes its time.
pub(crate) fn witness_program(bytes: &[u8]) {
    let limits =
        WitnessLimits { program_bytes: 16 << 10, memory_bytes: 1 << 20, operators: 100_000, signals: 16 };
    let Ok(program) = Program::compile(bytes, limits) else { return };
    if let Ok(witness) = program.run(&Vec::new()) {
        assert!(witness.public(20).len() < 16, "more signals than the limit");
    }
}
