//! The example's receiver, with the circuit's example days and their proofs.

use serde_json::Value;
use w3bstream_contracts::cold_chain::{Day, day_of_call, decode_day};
use w3bstream_contracts::{Proof, VerifyingKey, deploy};
use w3bstream_types::{Address, Digest, ProjectId};

use crate::world::*;

pub(crate) const KEY: &str = include_str!("../../../../artefacts/cold-chain-day.vkey.json");
const EXAMPLES: [&str; 5] = [
    include_str!("../../../../circuits/cold-chain-day/examples/around-zero.json"),
    include_str!("../../../../circuits/cold-chain-day/examples/below-zero.json"),
    include_str!("../../../../circuits/cold-chain-day/examples/extremes.json"),
    include_str!("../../../../circuits/cold-chain-day/examples/full-day.json"),
    include_str!("../../../../circuits/cold-chain-day/examples/one-reading.json"),
];

/// A statement with its proof.
pub(crate) struct Example {
    pub(crate) words: [[u8; 32]; 9],
    pub(crate) proof: Vec<u8>,
    pub(crate) public: Vec<[u8; 32]>,
    day: Day,
}

fn signed(v: i64) -> [u8; 32] {
    let mut out = if v < 0 { [0xff; 32] } else { [0; 32] };
    out[24..].copy_from_slice(&v.to_be_bytes());
    out
}

fn decimal(text: &Value) -> [u8; 32] {
    let mut out = [0u8; 32];
    for digit in text.as_str().unwrap().bytes() {
        let mut carry = u16::from(digit - b'0');
        for byte in out.iter_mut().rev() {
            let v = u16::from(*byte) * 10 + carry;
            (*byte, carry) = ((v & 0xff) as u8, v >> 8);
        }
        assert_eq!(carry, 0);
    }
    out
}

impl Example {
    fn read(json: &str) -> Self {
        let json: Value = serde_json::from_str(json).unwrap();
        let s = &json["statement"];
        let digest =
            |name: &str| -> [u8; 32] { hex::decode(s[name].as_str().unwrap()).unwrap().try_into().unwrap() };
        let n = |name: &str| s[name].as_i64().unwrap();
        let names = ["day", "n", "lo", "hi", "a", "r"];
        let [day, count, lo, hi, a, r] = names.map(|name| signed(n(name)));
        let commitment = decimal(&s["commitment"]);
        let proof = Proof::from_snarkjs(&json["proof"].to_string()).unwrap().as_bytes().to_vec();
        assert_eq!(json["proofBytes"], format!("0x{}", hex::encode(&proof)), "two ways to the same bytes");
        Self {
            words: [digest("project"), digest("device"), day, count, lo, hi, a, r, commitment],
            proof,
            public: json["public"].as_array().unwrap().iter().map(decimal).collect(),
            day: Day {
                n: n("n") as u8,
                lo: n("lo") as i32,
                hi: n("hi") as i32,
                average: n("a") as i32,
                remainder: n("r") as u8,
                statements: 1,
                epoch: 0,
                height: 0,
                index: 0,
                commitment,
            },
        }
    }

    pub(crate) fn all() -> Vec<Self> {
        EXAMPLES.into_iter().map(Self::read).collect()
    }

    pub(crate) fn project(&self) -> ProjectId {
        ProjectId(Digest::from_bytes(self.words[0]))
    }

    fn device(&self) -> Digest {
        Digest::from_bytes(self.words[1])
    }

    fn number_of_day(&self) -> u32 {
        u32::from_be_bytes(self.words[2][28..].try_into().unwrap())
    }
}

pub(crate) struct ColdChain {
    pub(crate) world: World,
    pub(crate) receiver: Address,
    pub(crate) verifier: Address,
}

impl ColdChain {
    pub(crate) fn new(members: usize) -> Self {
        let world = World::of(Subnet::new(Example::all()[0].project(), 0, members), CHAIN_ID);
        let key = VerifyingKey::from_snarkjs(KEY).unwrap();
        let verifier = world.deploy(deploy::groth16_verifier(&key)).unwrap();
        Self::with(world, verifier)
    }

    /// With a verifier that believes everything.
    fn credulous() -> Self {
        let world = World::of(Subnet::new(Example::all()[0].project(), 0, 1), CHAIN_ID);
        let verifier = world.create(CREDULOUS, &[]);
        Self::with(world, verifier)
    }

    fn with(world: World, verifier: Address) -> Self {
        let project = world.subnet.genesis.project;
        let receiver = world.deploy(deploy::cold_chain(&world.executor, &verifier, &project)).unwrap();
        Self { world, receiver, verifier }
    }

    /// The quorum attests the statement at a height, and somebody brings it with a proof.
    fn settle(
        &self,
        height: u64,
        statement: &[u8],
        proof: &[u8],
    ) -> Result<w3bstream_chain::Receipt, Reverted> {
        let outputs = [self.world.output(self.receiver, statement)];
        let attestation = self.world.subnet.attest(height, &outputs);
        self.world.execute_with(&attestation, &outputs, 0, proof)
    }

    fn day(&self, device: &Digest, day: u32) -> Option<Day> {
        decode_day(&self.world.read(self.receiver, day_of_call(device, day)).unwrap()).unwrap()
    }
}

#[test]
fn every_example_is_settled_and_can_be_read() {
    let chain = ColdChain::new(4);
    for (height, example) in (1..).zip(Example::all()) {
        let (device, day) = (example.device(), example.number_of_day());
        assert_eq!(chain.day(&device, day), None);
        let receipt = chain.settle(height, &example.words.concat(), &example.proof).unwrap();
        assert_eq!(chain.day(&device, day), Some(Day { height, ..example.day }));
        // The event says the same, for those who follow from outside.
        let log = &receipt.logs[1];
        assert_eq!((log.address, log.topics.len()), (chain.receiver, 3));
        assert_eq!(log.topics[1].as_bytes(), device.as_bytes());
        assert_eq!(log.data[..32 * 6], example.words[3..].concat());
        assert_eq!(log.data[32 * 6..], [word(0), word(height), word(0), word(1)].concat());
    }
}

#[test]
fn public_inputs_are_made_from_the_statement() {
    let chain = ColdChain::new(1);
    for example in Example::all() {
        let signature = "publicInputs((bytes32,bytes32,uint32,uint8,int32,int32,int32,uint8,uint256))";
        let answer = chain.world.read(chain.receiver, call(signature, &example.words)).unwrap();
        assert_eq!(answer, [&[word(32), word(11)][..], &example.public].concat().concat());
    }
}

#[test]
fn a_changed_statement_is_not_proved_whoever_attests_it() {
    let chain = ColdChain::new(1);
    let example = &Example::all()[0];
    let false_proof = "ProofFalse()";
    // Each word changed in its last bit; the quorum attests what it is told.
    let names = ["project", "device", "day", "n", "lo", "hi", "a", "r", "commitment"];
    for (field, name) in names.iter().enumerate() {
        let mut words = example.words;
        words[field][31] ^= 1;
        let error = if *name == "project" { "OtherProject(bytes32)" } else { false_proof };
        refused_by_receiver(chain.settle(field as u64, &words.concat(), &example.proof), error);
    }
    // The halves of the digests that the last bit is not in.
    for (field, error) in [(0, "OtherProject(bytes32)"), (1, false_proof)] {
        let mut words = example.words;
        words[field][0] ^= 1;
        refused_by_receiver(chain.settle(20, &words.concat(), &example.proof), error);
    }
    // Signs: −2 is not 2, and not p − 2 in another type.
    for field in [4, 6] {
        let mut words = example.words;
        let v = i64::from_be_bytes(words[field][24..].try_into().unwrap());
        assert!(v < 0);
        words[field] = signed(-v);
        refused_by_receiver(chain.settle(30, &words.concat(), &example.proof), false_proof);
    }
    assert_eq!(chain.day(&example.device(), example.number_of_day()), None);
    chain.settle(40, &example.words.concat(), &example.proof).unwrap();
}

#[test]
fn a_commitment_has_one_form() {
    let chain = ColdChain::new(1);
    let example = &Example::all()[4];
    let mut words = example.words;
    // commitment + r is the same number in the field, and another word.
    words[8] = plus(words[8], ORDER);
    refused_by_receiver(chain.settle(1, &words.concat(), &example.proof), "InputTooLarge(uint256)");
}

#[test]
fn a_proof_is_of_one_statement() {
    let chain = ColdChain::new(1);
    let examples = Example::all();
    for (i, example) in examples.iter().enumerate() {
        let other = &examples[(i + 1) % examples.len()];
        refused_by_receiver(chain.settle(i as u64, &example.words.concat(), &other.proof), "ProofFalse()");
    }
    let statement = examples[0].words.concat();
    let length = "ProofLength(uint256)";
    refused_by_receiver(chain.settle(9, &statement, &[]), length);
    refused_by_receiver(chain.settle(9, &statement, &examples[0].proof[..255]), length);
    // Nobody brings public inputs along: what follows the proof is not read, it is refused.
    let with_inputs = [&examples[0].proof[..], &examples[0].public.concat()].concat();
    refused_by_receiver(chain.settle(9, &statement, &with_inputs), length);
    // A failed attempt with somebody's false proof has not used the output up.
    chain.settle(9, &statement, &examples[0].proof).unwrap();
}

#[test]
fn statements_that_are_none_are_refused() {
    let chain = ColdChain::credulous();
    let (example, proof) = (&Example::all()[0], [0u8; 256]);
    let length = "StatementLength(uint256)";
    let good = example.words.concat();
    for bad in [&good[..287], &[&good[..], &[0]].concat(), &[]] {
        refused_by_receiver(chain.settle(1, bad, &proof), length);
    }
    // Words that are no values of their types: day, n, lo, hi, a, r. Solidity's decoder gives no reason.
    for (field, value) in [
        (2, word(1 << 32)),
        (3, word(256)),
        (4, word(1 << 31)),
        (5, signed(-(1 << 31) - 1)),
        (6, word(u64::MAX)),
        (7, word(256)),
    ] {
        let mut words = example.words;
        words[field] = value;
        let error = chain.settle(1, &words.concat(), &proof).unwrap_err();
        let decoded = w3bstream_contracts::ExecutionError::decode(&error);
        assert_eq!(decoded, Some(w3bstream_contracts::ExecutionError::ReceiverReverted(vec![])), "{field}");
    }
    chain.settle(1, &good, &proof).unwrap();
}

#[test]
fn only_the_executor_delivers_and_only_for_this_project() {
    let chain = ColdChain::new(1);
    let example = &Example::all()[0];
    let tuple = [example.words[0], word(0), word(1), word(0)];
    let offsets = [word(6 * 32), word(6 * 32 + 32 + 288)];
    let body = [&[word(288)][..], &example.words, &[word(256)]].concat().concat();
    let head = [&tuple[..], &offsets].concat().concat();
    let signature = "onOutput((bytes32,uint64,uint64,uint64),bytes,bytes)";
    let data =
        [&w3bstream_contracts::function_selector(signature)[..], &head, &body, &example.proof].concat();
    refused(chain.world.send(&chain.world.owner, chain.receiver, data), "OnlyExecutor(address)");
    // Another subnet of the same registry attests a true statement about this project.
    let stranger = Subnet::new(project("stranger"), 0, 1);
    chain.world.register(&stranger).unwrap();
    let outputs = [chain.world.output(chain.receiver, &example.words.concat())];
    let attestation = stranger.attest(1, &outputs);
    let sent = chain.world.execute_with(&attestation, &outputs, 0, &example.proof);
    refused_by_receiver(sent, "OtherSubnet(bytes32)");
}

/// The later of two statements about one day stands, in whatever order they are settled.
#[test]
fn what_stands_does_not_depend_on_the_order_of_settlement() {
    let example = &Example::all()[0];
    let statement = |n: u8| {
        let mut words = example.words;
        words[3] = word(n.into());
        words.concat()
    };
    let places: [(u64, u8); 3] = [(5, 3), (6, 4), (70, 5)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let chain = ColdChain::credulous();
        let mut highest = 0;
        for (settled, place) in (1..).zip(order) {
            let (height, n) = places[place];
            let receipt = chain.settle(height, &statement(n), &[0; 256]).unwrap();
            let current = height > highest;
            highest = highest.max(height);
            assert_eq!(receipt.logs[1].data.last(), Some(&u8::from(current)), "{order:?}");
            let day = chain.day(&example.device(), example.number_of_day()).unwrap();
            assert_eq!((day.height, day.statements), (highest, settled), "{order:?}");
        }
        let day = chain.day(&example.device(), example.number_of_day()).unwrap();
        assert_eq!(day.n, 5);
        // Another day of the device, and the day of another device, are not touched.
        assert_eq!(chain.day(&example.device(), example.number_of_day() + 1), None);
        assert_eq!(chain.day(&Digest::of(b"other"), example.number_of_day()), None);
    }
}

#[test]
fn within_one_block_the_later_output_stands() {
    let chain = ColdChain::credulous();
    let example = &Example::all()[0];
    let mut second = example.words;
    second[3] = word(6);
    let outputs = [example.words.concat(), second.concat()].map(|s| chain.world.output(chain.receiver, &s));
    let attestation = chain.world.subnet.attest(1, &outputs);
    for index in [1, 0] {
        chain.world.execute_with(&attestation, &outputs, index, &[0; 256]).unwrap();
    }
    let day = chain.day(&example.device(), example.number_of_day()).unwrap();
    assert_eq!((day.n, day.index, day.statements), (6, 1, 2));
}

/// Order of BN254's groups, big-endian.
pub(crate) const ORDER: &str = "30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001";
/// Prime of BN254's coordinates.
pub(crate) const PRIME: &str = "30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47";

/// a + b, which must be below 2^256.
pub(crate) fn plus(a: [u8; 32], b: &str) -> [u8; 32] {
    let b = hex::decode(b).unwrap();
    let (mut out, mut carry) = ([0; 32], 0);
    for i in (0..32).rev() {
        let sum = u16::from(a[i]) + u16::from(b[i]) + carry;
        (out[i], carry) = ((sum & 0xff) as u8, sum >> 8);
    }
    assert_eq!(carry, 0);
    out
}
