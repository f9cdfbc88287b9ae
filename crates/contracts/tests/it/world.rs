//! A chain with the contracts on it, and a subnet whose members sign what the test wants.

use pollster::block_on;
use w3bstream_chain::{BlockId, Call, CallOutcome, Chain as _, Receipt};
use w3bstream_chain_dev::{DevChain, Settings, dev_key};
use w3bstream_contracts::{Contract, Execution, ExecutionError, deploy, function_selector, register_call};
use w3bstream_types::{
    Address, Algorithm, Attestation, Canonical as _, Did, Digest, Genesis, Member, Output, OutputKind,
    ProjectId, SecretKey, Statement, Timestamp, merkle, output_leaves, outputs_root,
};

pub(crate) const CHAIN_ID: u64 = 31_337;
/// Seconds from the announcement of a recovery to the recovery.
pub(crate) const RECOVERY_DELAY: u64 = 3_600;

/// What a call that reverted said.
pub(crate) type Reverted = Vec<u8>;

pub(crate) struct World {
    pub(crate) chain: DevChain,
    /// Owns registry and subnet, and pays.
    pub(crate) owner: SecretKey,
    pub(crate) registry: Address,
    pub(crate) executor: Address,
    pub(crate) subnet: Subnet,
}

/// A subnet's epoch with its members' keys.
#[derive(Clone)]
pub(crate) struct Subnet {
    pub(crate) genesis: Genesis,
    /// Attestation keys by the members' places.
    pub(crate) keys: Vec<SecretKey>,
}

impl Subnet {
    /// `n` members whose keys follow from the epoch and the project.
    pub(crate) fn new(project: ProjectId, epoch: u64, n: usize) -> Self {
        let mut members = Vec::new();
        for i in 0..n {
            let seed = |role: &str| {
                let parts = [&project.0.as_bytes()[..], &epoch.to_be_bytes(), &i.to_be_bytes()];
                *Digest::tagged(role, &parts).as_bytes()
            };
            let consensus = SecretKey::from_bytes(Algorithm::EdDSA, &seed("consensus")).unwrap();
            let attestation = SecretKey::from_bytes(Algorithm::ES256K, &seed("attestation")).unwrap();
            let did: Did = format!("did:web:node{i:03}.example").parse().unwrap();
            members.push((Member::sign(did, &consensus, &attestation), attestation));
        }
        let genesis = Genesis {
            project,
            backend: "solo".into(),
            abi_version: 1,
            epoch,
            created: Timestamp(1),
            members: members.iter().map(|m| m.0.clone()).collect(),
        };
        genesis.check().unwrap();
        Self { genesis, keys: members.into_iter().map(|m| m.1).collect() }
    }

    /// What the members would attest of a block with these outputs.
    pub(crate) fn statement(&self, height: u64, outputs: &[Output]) -> Statement {
        Statement {
            subnet: self.genesis.project,
            genesis: self.genesis.digest(),
            epoch: self.genesis.epoch,
            height,
            block: Digest::of(&height.to_be_bytes()),
            manifest: Digest::of(b"manifest"),
            state_root: Digest::of(b"state"),
            outputs_root: outputs_root(outputs),
        }
    }

    /// Signed by the first `signers` members.
    pub(crate) fn sign(&self, statement: Statement, signers: usize) -> Attestation {
        let signatures = (0..).zip(&self.keys[..signers]).map(|(i, k)| (i, statement.sign(k).unwrap()));
        Attestation { signatures: signatures.collect(), statement }
    }

    /// Signed by a quorum, which is checked as nodes do.
    pub(crate) fn attest(&self, height: u64, outputs: &[Output]) -> Attestation {
        let attestation = self.sign(self.statement(height, outputs), self.genesis.quorum());
        attestation.verify(&self.genesis).unwrap();
        attestation
    }
}

pub(crate) fn project(name: &str) -> ProjectId {
    ProjectId(Digest::of(name.as_bytes()))
}

impl World {
    /// Registry, Executor, and a registered subnet of `members`.
    pub(crate) fn new(members: usize) -> Self {
        Self::of(Subnet::new(project("subnet"), 0, members), CHAIN_ID)
    }

    pub(crate) fn of(subnet: Subnet, chain_id: u64) -> Self {
        let chain = DevChain::new(Settings { chain_id, ..Settings::default() });
        let owner = dev_key(0);
        let account = Address::of_key(&owner.public()).unwrap();
        let deployed = |init: Vec<u8>| chain.transact(&owner, None, init).unwrap().created.unwrap();
        let registry = deployed(deploy::registry(&account, RECOVERY_DELAY));
        let executor = deployed(deploy::executor(&registry));
        let world = Self { chain, owner, registry, executor, subnet };
        world.register(&world.subnet).unwrap();
        world
    }

    pub(crate) fn account(&self) -> Address {
        Address::of_key(&self.owner.public()).unwrap()
    }

    pub(crate) fn register(&self, subnet: &Subnet) -> Result<Receipt, Reverted> {
        let call = register_call(&self.account(), &subnet.genesis).unwrap();
        self.send(&self.owner, self.registry, call)
    }

    /// Creates a contract of `artefacts/contracts/test/`.
    pub(crate) fn create(&self, json: &str, arguments: &[[u8; 32]]) -> Address {
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let code = hex::decode(json["bytecode"].as_str().unwrap().strip_prefix("0x").unwrap()).unwrap();
        self.deploy([code, arguments.concat()].concat()).unwrap()
    }

    pub(crate) fn deploy(&self, init: Vec<u8>) -> Result<Address, Reverted> {
        let call =
            Call { from: Some(self.account()), to: None, value: 0, data: init.clone(), gas_limit: None };
        if let CallOutcome::Reverted(revert) = self.at_head(&call) {
            return Err(revert.data);
        }
        Ok(self.chain.transact(&self.owner, None, init).unwrap().created.unwrap())
    }

    /// Sends a transaction that succeeds, or tells what it reverts with.
    pub(crate) fn send(&self, from: &SecretKey, to: Address, data: Vec<u8>) -> Result<Receipt, Reverted> {
        let sender = Address::of_key(&from.public()).unwrap();
        let call = Call { from: Some(sender), to: Some(to), value: 0, data: data.clone(), gas_limit: None };
        let expected = self.at_head(&call);
        let receipt = self.chain.transact(from, Some(to), data);
        match expected {
            CallOutcome::Reverted(revert) => {
                assert!(receipt.is_err(), "the call reverts and the transaction does not");
                Err(revert.data)
            }
            CallOutcome::Returned(_) => Ok(receipt.unwrap()),
        }
    }

    pub(crate) fn at_head(&self, call: &Call) -> CallOutcome {
        let head = block_on(self.chain.block(BlockId::Head)).unwrap().unwrap();
        block_on(self.chain.call(head.hash, call)).unwrap()
    }

    /// Mines a block that is at least so much later.
    pub(crate) fn wait(&self, seconds: u64) {
        self.chain.advance_time(seconds);
        self.chain.mine();
    }

    /// Asks a contract.
    pub(crate) fn read(&self, to: Address, data: Vec<u8>) -> Result<Vec<u8>, Reverted> {
        match self.at_head(&Call::new(to, data)) {
            CallOutcome::Returned(answer) => Ok(answer),
            CallOutcome::Reverted(revert) => Err(revert.data),
        }
    }

    /// A settlement for a receiver on this chain.
    pub(crate) fn output(&self, receiver: Address, data: &[u8]) -> Output {
        Output {
            kind: OutputKind::Settlement,
            chain_id: block_on(self.chain.chain_id()).unwrap(),
            target: [&self.executor.as_bytes()[..], receiver.as_bytes()].concat(),
            data: data.to_vec(),
        }
    }

    /// Executes output `index` of an attested block.
    pub(crate) fn execute(
        &self,
        attestation: &Attestation,
        outputs: &[Output],
        index: usize,
    ) -> Result<Receipt, Reverted> {
        self.execute_with(attestation, outputs, index, &[])
    }

    pub(crate) fn execute_with(
        &self,
        attestation: &Attestation,
        outputs: &[Output],
        index: usize,
        proof: &[u8],
    ) -> Result<Receipt, Reverted> {
        self.send(&self.owner, self.executor, call_data(attestation, outputs, index, proof))
    }
}

/// Call data that executes output `index` of an attested block.
pub(crate) fn call_data(
    attestation: &Attestation,
    outputs: &[Output],
    index: usize,
    proof: &[u8],
) -> Vec<u8> {
    let path = merkle::path(&output_leaves(outputs), index).unwrap();
    let execution = Execution {
        attestation,
        output: &outputs[index],
        index: index as u64,
        leaf_count: outputs.len() as u64,
        path: &path,
        proof,
    };
    execution.call_data().unwrap()
}

/// Asserts that a call reverted with the custom error of this signature.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Reverted>, error: &str) {
    let data = result.unwrap_err();
    assert_eq!(data.get(..4), Some(&function_selector(error)[..]), "not {error}: {}", hex::encode(&data));
}

/// Asserts that the receiver reverted with the custom error of this signature.
#[track_caller]
pub(crate) fn refused_by_receiver<T: std::fmt::Debug>(result: Result<T, Reverted>, error: &str) {
    let data = result.unwrap_err();
    let Some(ExecutionError::ReceiverReverted(inner)) = ExecutionError::decode(&data) else {
        panic!("the receiver did not revert: {}", hex::encode(&data));
    };
    refused(Err::<(), _>(inner), error);
}

pub(crate) fn word(n: u64) -> [u8; 32] {
    let mut out = [0; 32];
    out[24..].copy_from_slice(&n.to_be_bytes());
    out
}

pub(crate) fn address_word(a: Address) -> [u8; 32] {
    let mut out = [0; 32];
    out[12..].copy_from_slice(a.as_bytes());
    out
}

/// Call data of a function whose arguments are static words.
pub(crate) fn call(signature: &str, words: &[[u8; 32]]) -> Vec<u8> {
    [&function_selector(signature)[..], &words.concat()].concat()
}

/// The number that a function answered.
pub(crate) fn number(answer: Result<Vec<u8>, Reverted>) -> u64 {
    let answer = answer.unwrap();
    assert_eq!(answer.len(), 32);
    assert!(answer[..24].iter().all(|b| *b == 0), "a large number");
    u64::from_be_bytes(answer[24..].try_into().unwrap())
}

pub(crate) const BAD_RECEIVER: &str = include_str!("../../../../artefacts/contracts/test/BadReceiver.json");
pub(crate) const REENTRANT: &str =
    include_str!("../../../../artefacts/contracts/test/ReentrantReceiver.json");
pub(crate) const SWALLOWER: &str = include_str!("../../../../artefacts/contracts/test/Swallower.json");
pub(crate) const HARNESS: &str = include_str!("../../../../artefacts/contracts/test/InclusionHarness.json");
pub(crate) const CREDULOUS: &str =
    include_str!("../../../../artefacts/contracts/test/CredulousVerifier.json");

/// A receiver that records what the subnet attests.
pub(crate) fn recorder(world: &World) -> Address {
    world.deploy(deploy::recorder(&world.executor, &world.subnet.genesis.project)).unwrap()
}

/// How many outputs a recorder has got.
pub(crate) fn count(world: &World, recorder: Address) -> u64 {
    number(world.read(recorder, call("count()", &[])))
}

/// The functions and errors that a contract's artefact must name; so that a test does not ask for what is not there.
#[track_caller]
pub(crate) fn names(contract: Contract, name: &str) {
    assert!(contract.json.contains(&format!("\"name\":\"{name}\"")), "{} has no {name}", contract.name);
}
