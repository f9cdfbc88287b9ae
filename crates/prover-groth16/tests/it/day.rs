//! The circuit of the cold chain and its example days.

use std::fs;
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use w3bstream_prover::{Circuit, FieldElement, Job, MemoryArtefacts, Proof, Prover, Signals};
use w3bstream_prover_groth16::{
    Config, Groth16Prover, Program, ProvingKey, SYSTEM, WitnessLimits, proof_from_snarkjs,
};
use w3bstream_types::{Address, Digest, ProofRule, Settlement};

pub(crate) const WASM: &str = "../../artefacts/cold-chain-day.wasm";
pub(crate) const ZKEY: &str = "../../artefacts/cold-chain-day.zkey";
pub(crate) const VKEY: &str = "../../artefacts/cold-chain-day.vkey.json";
const EXAMPLES: &str = "../../circuits/cold-chain-day/examples";
const NAMES: [&str; 5] = ["extremes", "full-day", "below-zero", "around-zero", "one-reading"];

pub(crate) static ZKEY_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read(ZKEY).unwrap());
pub(crate) static WASM_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read(WASM).unwrap());
pub(crate) static KEY: LazyLock<ProvingKey> = LazyLock::new(|| ProvingKey::read(&ZKEY_BYTES).unwrap());
pub(crate) static PROGRAM: LazyLock<Program> =
    LazyLock::new(|| Program::compile(&WASM_BYTES, WitnessLimits::default()).unwrap());

/// An example day.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) name: &'static str,
    pub(crate) json: Value,
}

pub(crate) fn examples() -> Vec<Example> {
    let read = |name: &'static str| {
        let text = fs::read_to_string(format!("{EXAMPLES}/{name}.json")).unwrap();
        Example { name, json: serde_json::from_str(&text).unwrap() }
    };
    NAMES.map(read).to_vec()
}

pub(crate) fn decimal(text: &Value) -> FieldElement {
    FieldElement::from_decimal(text.as_str().unwrap()).unwrap()
}

pub(crate) fn settlement() -> Settlement {
    let fields = [
        "bytes32 project",
        "bytes32 device",
        "uint32 day",
        "uint8 n",
        "int32 lo",
        "int32 hi",
        "int32 a",
        "uint8 r",
        "uint256 commitment",
    ];
    Settlement {
        name: "day".parse().unwrap(),
        chain_id: 31337,
        executor: Address::from_bytes([1; 20]),
        contract: Address::from_bytes([2; 20]),
        fields: fields.map(|f| f.parse().unwrap()).to_vec(),
        proof: Some(ProofRule {
            system: SYSTEM.into(),
            witness: Digest::of(&WASM_BYTES),
            key: Digest::of(&ZKEY_BYTES),
            private: "witness/{commitment}".into(),
            batch: None,
        }),
    }
}

impl Example {
    /// The statement's words.
    pub(crate) fn statement(&self) -> Vec<u8> {
        let statement = &self.json["statement"];
        let mut bytes = Vec::new();
        for name in ["project", "device"] {
            bytes.extend(hex::decode(statement[name].as_str().unwrap()).unwrap());
        }
        for name in ["day", "n", "lo", "hi", "a", "r"] {
            let value = i128::from(statement[name].as_i64().unwrap());
            bytes.extend([if value < 0 { 0xff } else { 0 }; 16]);
            bytes.extend(value.to_be_bytes());
        }
        bytes.extend(decimal(&statement["commitment"]).to_be_bytes());
        bytes
    }

    /// What the guest keeps: the private inputs.
    pub(crate) fn private(&self) -> String {
        let input = &self.json["input"];
        serde_json::json!({"salt": input["salt"], "readings": input["readings"]}).to_string()
    }

    pub(crate) fn signals(&self) -> (Vec<FieldElement>, Signals) {
        w3bstream_prover::signals(&settlement(), &self.statement(), self.private().as_bytes()).unwrap()
    }

    pub(crate) fn job(&self) -> Job {
        let (public, inputs) = self.signals();
        let settlement = settlement();
        let rule = settlement.proof.unwrap();
        Job {
            id: Digest::of(self.name.as_bytes()),
            circuit: Circuit { system: rule.system, witness: rule.witness, key: rule.key },
            public,
            inputs,
        }
    }

    /// snarkjs's proof.
    pub(crate) fn proof(&self) -> Proof {
        let proof = &self.json["proof"];
        let at = |name: &str, i: usize| proof[name][i].as_str().unwrap().to_owned();
        let b = |i: usize, j: usize| proof["pi_b"][i][j].as_str().unwrap().to_owned();
        let numbers =
            [at("pi_a", 0), at("pi_a", 1), b(0, 0), b(0, 1), b(1, 0), b(1, 1), at("pi_c", 0), at("pi_c", 1)];
        proof_from_snarkjs(numbers.each_ref().map(String::as_str)).unwrap()
    }
}

pub(crate) fn artefacts() -> Arc<MemoryArtefacts> {
    let artefacts = MemoryArtefacts::new();
    artefacts.put(&WASM_BYTES);
    artefacts.put(&ZKEY_BYTES);
    Arc::new(artefacts)
}

/// Where the kit tests the prover.
pub(crate) struct Place;

impl w3bstream_prover::conformance::Place for Place {
    fn open(&self) -> Arc<dyn Prover> {
        let config = Config { queue: 2, ..Config::default() };
        Arc::new(Groth16Prover::start(&config).unwrap())
    }

    fn queue(&self) -> usize {
        2
    }

    fn artefacts(&self) -> Arc<MemoryArtefacts> {
        artefacts()
    }

    fn job(&self, n: u8) -> Job {
        let examples = examples();
        let job = examples[usize::from(n) % examples.len()].job();
        Job { id: Digest::of(&[n]), ..job }
    }

    fn unsatisfied(&self) -> Job {
        let mut job = examples()[1].job();
        disorder(&mut job.inputs);
        Job { id: Digest::of(b"unsatisfied"), ..job }
    }

    fn secrets(&self) -> Vec<String> {
        let salts = [0, 1].map(|i| examples()[i].json["input"]["salt"].as_str().unwrap().to_owned());
        let hex = salts.each_ref().map(|s| hex::encode(FieldElement::from_decimal(s).unwrap().to_be_bytes()));
        salts.into_iter().chain(hex.map(|h| h.trim_start_matches('0').to_owned())).collect()
    }
}

/// Changes the order of two readings that differ: the commitment opens to another order.
pub(crate) fn disorder(inputs: &mut Signals) {
    let (_, readings) = inputs.iter_mut().find(|(name, _)| name == "readings").unwrap();
    let other = readings.iter().position(|r| *r != readings[0]).unwrap();
    readings.swap(0, other);
}
