//! What the compiler made of `contracts/`.

/// A compiled contract.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// Its name in the Solidity source.
    pub name: &'static str,
    /// The artefact: a JSON object with `abi`, `bytecode` and `compiler`, as common tools read it.
    pub json: &'static str,
    /// The creation bytecode, without the constructor's arguments.
    pub bytecode: &'static [u8],
}

/// Decodes the bytecode while this crate is compiled, so that nothing can fail when it runs.
macro_rules! contract {
    ($name:literal) => {{
        const JSON: &str = include_str!(concat!("../../../artefacts/contracts/", $name, ".json"));
        const CODE: [u8; code_len(JSON.as_bytes())] = code(JSON.as_bytes());
        Contract { name: $name, json: JSON, bytecode: &CODE }
    }};
}

/// Who the members of subnets are.
pub const SUBNET_REGISTRY: Contract = contract!("SubnetRegistry");
/// Executes attested outputs, each once.
pub const EXECUTOR: Contract = contract!("Executor");
/// Checks Groth16 proofs for the verification key that it is deployed with.
pub const GROTH16_VERIFIER: Contract = contract!("Groth16Verifier");
/// The example's receiver.
pub const COLD_CHAIN: Contract = contract!("ColdChain");
/// A receiver that writes down what it gets.
pub const RECORDER: Contract = contract!("Recorder");

const KEY: &[u8] = b"\"bytecode\": \"0x";

/// Where the bytecode's hex digits start.
const fn start(json: &[u8]) -> usize {
    let mut at = 0;
    while at + KEY.len() <= json.len() {
        let mut same = 0;
        while same < KEY.len() && json[at + same] == KEY[same] {
            same += 1;
        }
        if same == KEY.len() {
            return at + same;
        }
        at += 1;
    }
    json.len()
}

const fn code_len(json: &[u8]) -> usize {
    let start = start(json);
    let mut end = start;
    while end < json.len() && json[end] != b'"' {
        end += 1;
    }
    assert!(end > start, "the artefact has no bytecode");
    assert!((end - start).is_multiple_of(2), "the artefact's bytecode has an odd number of digits");
    (end - start) / 2
}

#[allow(
    long_running_const_eval,
    reason = "some ten thousand digits are read once, when this crate is compiled"
)]
const fn code<const LEN: usize>(json: &[u8]) -> [u8; LEN] {
    let start = start(json);
    let mut out = [0; LEN];
    let mut i = 0;
    while i < LEN {
        out[i] = digit(json[start + 2 * i]) << 4 | digit(json[start + 2 * i + 1]);
        i += 1;
    }
    out
}

const fn digit(c: u8) -> u8 {
    assert!(c.is_ascii_hexdigit() && !c.is_ascii_uppercase(), "the artefact's bytecode is no hex");
    if c >= b'a' { c - b'a' + 10 } else { c - b'0' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytecode_is_the_artefacts() {
        for contract in [SUBNET_REGISTRY, EXECUTOR, GROTH16_VERIFIER, COLD_CHAIN, RECORDER] {
            let json: serde_json::Value = serde_json::from_str(contract.json).unwrap();
            assert_eq!(json["contractName"], contract.name);
            assert_eq!(json["bytecode"], format!("0x{}", hex::encode(contract.bytecode)));
            assert!(contract.bytecode.len() > 1000, "{}", contract.name);
            // EIP-170 and EIP-3860 bound what can be deployed.
            assert!(contract.bytecode.len() < 24_576, "{}", contract.name);
        }
    }
}
