//! Settlements in all weathers, against a real anvil: the submitter is killed again and again, blocks are replaced, the
//! pool is emptied, fees jump, and the node between does not answer, answers twice or lies. In the end the Executor has
//! taken each output once. `W3B_CAMPAIGN` says how many outputs, `W3B_CAMPAIGN_SEED` which weather.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use w3bstream_chain::memory::{FlakyChain, Troubles};
use w3bstream_chain::submit::{
    Cancel, Intent, IntentId, MemoryTxJournal, Offered, Outcome, Ports, Refusal, Settings, Submitter,
    TxSigner,
};
use w3bstream_chain::{
    Block, BlockId, Chain, Error, Hash, LogBlocks, LogFilter, Receipt, SignedTransaction, Transaction,
    async_trait,
};
use w3bstream_chain_evm::{EvmChain, EvmSettings};
use w3bstream_contracts::{Execution, ExecutionError, Settled, deploy, register_call};
use w3bstream_types::{
    Address, Algorithm, Attestation, Canonical as _, Did, Digest, Disposition, Genesis, Member, Output,
    OutputKind, ProjectId, SecretKey, Statement, Timestamp, merkle, output_leaves, outputs_root,
};

use crate::anvil::{Anvil, CHAIN};
use crate::block_on;

const GWEI: u128 = 1_000_000_000;
/// How many outputs a block of the subnet has.
const PER_BLOCK: u64 = 20;
/// The weather may not last longer; what is not settled by then is settled in calm.
const STORM: Duration = Duration::from_secs(60);
const CALM: Duration = Duration::from_secs(60);

fn es256k(seed: u8) -> SecretKey {
    SecretKey::from_bytes(Algorithm::ES256K, &[seed; 32]).unwrap()
}

fn address(key: &SecretKey) -> Address {
    Address::of_key(&key.public()).unwrap()
}

#[derive(Debug)]
struct FeeKey(SecretKey);

#[async_trait]
impl TxSigner for FeeKey {
    fn address(&self) -> Address {
        address(&self.0)
    }

    async fn sign_hash(&self, hash: &Hash) -> Result<[u8; 65], Error> {
        Ok(self.0.sign_recoverable(hash.as_bytes()).unwrap())
    }
}

/// A subnet of one, whose attestations the registry knows.
struct Subnet {
    genesis: Genesis,
    key: SecretKey,
}

impl Subnet {
    fn new() -> Self {
        let consensus = SecretKey::from_bytes(Algorithm::EdDSA, &[3; 32]).unwrap();
        let key = es256k(4);
        let genesis = Genesis {
            project: ProjectId(Digest::of(b"campaign")),
            backend: "solo".into(),
            abi_version: 1,
            epoch: 0,
            created: Timestamp(1),
            members: vec![Member::sign(Did::key(&consensus.public()), &consensus, &key)],
        };
        Self { genesis, key }
    }

    /// The intents of one block's outputs, by the outputs' ids.
    fn intents(&self, height: u64, executor: Address, receiver: Address) -> Vec<([u8; 32], Intent)> {
        let target = [*executor.as_bytes(), *receiver.as_bytes()].concat();
        let output = |i: u64| {
            let data = Digest::of(&[height.to_be_bytes(), i.to_be_bytes()].concat()).as_bytes().to_vec();
            Output { kind: OutputKind::Settlement, chain_id: CHAIN, target: target.clone(), data }
        };
        let outputs: Vec<Output> = (0..PER_BLOCK).map(output).collect();
        let statement = Statement {
            subnet: self.genesis.project,
            genesis: self.genesis.digest(),
            epoch: 0,
            height,
            block: Digest::of(&height.to_be_bytes()),
            manifest: Digest::of(b"manifest"),
            state_root: Digest::of(b"state"),
            outputs_root: outputs_root(&outputs),
        };
        let signatures = vec![(0, statement.sign(&self.key).unwrap())];
        let attestation = Attestation { signatures, statement };
        let leaves = output_leaves(&outputs);
        let intent = |(index, output): (u64, &Output)| {
            let path = merkle::path(&leaves, index as usize).unwrap();
            let execution = Execution {
                attestation: &attestation,
                output,
                index,
                leaf_count: PER_BLOCK,
                path: &path,
                proof: &[],
            };
            let id = execution.output_ref().id();
            let name = IntentId(Digest::from_bytes(id));
            (id, Intent { id: name, to: executor, value: 0, data: execution.call_data().unwrap() })
        };
        (0..).zip(&outputs).map(intent).collect()
    }
}

/// A chain of its own with the contracts on it.
struct World {
    anvil: Anvil,
    chain: Arc<EvmChain>,
    executor: Address,
    intents: Vec<([u8; 32], Intent)>,
    dice: u64,
}

impl World {
    async fn new(outputs: u64, seed: u64) -> Self {
        let anvil = Anvil::start(&[]);
        let settings = EvmSettings::new(format!("http://{}", anvil.address), CHAIN);
        let chain = Arc::new(EvmChain::new(settings).unwrap());
        for key in [es256k(1), es256k(2)] {
            anvil.control("anvil_setBalance", &json!([address(&key).to_string(), "0xd3c21bcecceda1000000"]));
        }
        anvil.control("evm_mine", &json!([]));
        let (owner, subnet) = (es256k(1), Subnet::new());
        let mut world = Self { anvil, chain, executor: address(&owner), intents: vec![], dice: seed | 1 };
        let registry =
            world.send(&owner, 0, None, deploy::registry(&address(&owner), 0)).await.created.unwrap();
        let executor = world.send(&owner, 1, None, deploy::executor(&registry)).await.created.unwrap();
        let recorder = deploy::recorder(&executor, &subnet.genesis.project);
        let receiver = world.send(&owner, 2, None, recorder).await.created.unwrap();
        let register = register_call(&address(&owner), &subnet.genesis).unwrap();
        assert!(world.send(&owner, 3, Some(registry), register).await.success);
        world.executor = executor;
        // No reorganisation reaches the contracts.
        (0..8).for_each(|_| world.mine());
        let blocks = (1..).flat_map(|height| subnet.intents(height, executor, receiver));
        world.intents = blocks.take(outputs as usize).collect();
        world
    }

    /// Sends a transaction in calm, and mines it.
    async fn send(&self, key: &SecretKey, nonce: u64, to: Option<Address>, data: Vec<u8>) -> Receipt {
        let (max_fee, gas_limit) = (100 * GWEI, 4_000_000);
        let transaction = Transaction {
            chain_id: CHAIN,
            nonce,
            priority_fee: GWEI,
            max_fee,
            gas_limit,
            to,
            value: 0,
            data,
        };
        let signature = key.sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
        let signed = SignedTransaction::new(transaction, &signature).unwrap();
        self.chain.submit(&signed).await.unwrap();
        self.mine();
        self.chain.receipt(signed.hash()).await.unwrap().expect("it is mined")
    }

    fn mine(&self) {
        self.anvil.control("evm_mine", &json!([]));
    }

    fn roll(&mut self, n: u64) -> u64 {
        // xorshift64* (Vigna 2016).
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    /// Something that happens to the chain; counted by what it is.
    fn weather(&mut self, seen: &mut BTreeMap<&'static str, u64>) {
        let what = match self.roll(20) {
            0..=11 => {
                self.mine();
                "blocks"
            }
            12 => {
                self.anvil.control("anvil_dropAllTransactions", &json!([]));
                "pool emptied"
            }
            13 | 14 => {
                // Less deep than the confirmations that are waited for.
                let depth = 1 + self.roll(2);
                self.anvil.control("anvil_reorg", &json!([depth, []]));
                "reorganisations"
            }
            15 => {
                let fee = GWEI * u128::from(1 + self.roll(80));
                self.anvil.control("anvil_setNextBlockBaseFeePerGas", &json!([format!("{fee:#x}")]));
                self.mine();
                "fee jumps"
            }
            _ => "still",
        };
        *seen.entry(what).or_default() += 1;
    }
}

/// What the pipeline is for its settlements: it offers, keeps outcomes, and forgets.
struct Caller {
    ports: Ports,
    settings: Settings,
    submitter: Submitter,
    now: u64,
    done: BTreeSet<usize>,
    /// Why the last one was not taken.
    last: String,
}

impl Caller {
    async fn open(ports: Ports) -> Self {
        let settings = Settings {
            confirmations: 4,
            bump_after: 40_000,
            resend_after: 12_000,
            max_in_flight: 16,
            ..Settings::default()
        };
        let submitter = Self::start(&ports, &settings).await;
        Self { ports, settings, submitter, now: 1_000_000, done: BTreeSet::new(), last: String::new() }
    }

    async fn start(ports: &Ports, settings: &Settings) -> Submitter {
        // The node may not answer just now; a process would be started again.
        loop {
            let ports = Ports {
                chain: ports.chain.clone(),
                journal: ports.journal.clone(),
                signer: ports.signer.clone(),
            };
            match Submitter::open(ports, CHAIN, settings.clone()).await {
                Ok(submitter) => return submitter,
                Err(e) => assert_ne!(e.disposition(), Disposition::Halt, "{e}"),
            }
        }
    }

    /// The process dies and is started again: all that is left is the journal.
    async fn kill(&mut self) {
        self.submitter = Self::start(&self.ports, &self.settings).await;
    }

    async fn round(&mut self, world: &mut World) {
        self.now += 2_000 + world.roll(12_000);
        let now = Timestamp(self.now);
        if let Err(e) = self.submitter.tick(now).await {
            assert_ne!(e.disposition(), Disposition::Halt, "{e}");
        }
        let waiting: Vec<usize> =
            (0..world.intents.len()).filter(|at| !self.done.contains(at)).take(40).collect();
        for at in waiting {
            let intent = world.intents[at].1.clone();
            let id = intent.id;
            let ended = match self.submitter.offer(intent, now).await {
                Ok(Offered::Finished(outcome)) => {
                    let done = took_effect(&outcome);
                    // An outcome that is no success is offered anew, as the pipeline does.
                    let _ = self.submitter.forget(id).await;
                    done
                }
                Ok(Offered::Refused(Refusal::Reverts(revert))) => is_executed(&revert.data),
                Ok(Offered::Later(why)) => {
                    why.clone_into(&mut self.last);
                    false
                }
                Ok(Offered::Refused(refusal)) => {
                    self.last = format!("refused: {refusal}");
                    false
                }
                Ok(Offered::Taken(_)) => false,
                Err(e) => {
                    assert_ne!(e.disposition(), Disposition::Halt, "{e}");
                    self.last = e.to_string();
                    false
                }
            };
            if ended {
                self.done.insert(at);
            }
            assert!(self.submitter.in_flight() <= self.settings.max_in_flight);
        }
    }
}

fn is_executed(data: &[u8]) -> bool {
    ExecutionError::decode(data) == Some(ExecutionError::AlreadyExecuted)
}

fn took_effect(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done(_) => true,
        Outcome::Reverted(_, revert) | Outcome::Cancelled(Cancel::Reverts(revert)) => {
            is_executed(&revert.data)
        }
        Outcome::Cancelled(Cancel::Rejected(_)) => false,
    }
}

async fn head(chain: &dyn Chain) -> Block {
    chain.block(BlockId::Head).await.unwrap().unwrap()
}

/// The ids of all outputs that the Executor has taken, with repeats, and how many transactions did it.
async fn settled(world: &World) -> (Vec<[u8; 32]>, usize) {
    let to = head(&*world.chain).await.number;
    let filter = LogFilter {
        blocks: LogBlocks::Range { from: 0, to },
        addresses: vec![world.executor],
        topics: vec![vec![Hash::from_bytes(Settled::topic())]],
    };
    let logs = world.chain.logs(&filter).await.unwrap();
    let transactions: BTreeSet<Hash> = logs.iter().map(|log| log.at.transaction).collect();
    (logs.iter().map(|log| *log.topics[3].as_bytes()).collect(), transactions.len())
}

fn from_env(name: &str, otherwise: u64) -> u64 {
    #[allow(clippy::disallowed_methods, reason = "a test's own settings")]
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}"))
    })
}

#[test]
#[ignore = "needs anvil: run scripts/test-anvil"]
fn each_output_is_taken_once_in_all_weathers() {
    let (outputs, seed) = (from_env("W3B_CAMPAIGN", 200), from_env("W3B_CAMPAIGN_SEED", 7));
    block_on(async {
        let mut world = World::new(outputs, seed).await;
        let flaky = Arc::new(FlakyChain::new(world.chain.clone(), seed, Troubles::ALL));
        let ports = Ports {
            chain: flaky.clone(),
            journal: Arc::new(MemoryTxJournal::default()),
            signer: Arc::new(FeeKey(es256k(2))),
        };
        let mut caller = Caller::open(ports).await;
        let (begun, mut seen) = (Instant::now(), BTreeMap::new());
        // Larger campaigns may take their time.
        let storm = STORM * u32::try_from(outputs.div_ceil(200)).unwrap();
        while caller.done.len() < world.intents.len() && begun.elapsed() < storm {
            world.weather(&mut seen);
            caller.round(&mut world).await;
            if world.roll(10) == 0 {
                caller.kill().await;
                *seen.entry("kills").or_default() += 1;
            }
        }
        let (in_storm, storm_took) = (caller.done.len(), begun.elapsed());
        // The sky clears: now everything must come to its end.
        flaky.set_troubles(Troubles::default());
        let calm = Instant::now();
        while caller.done.len() < world.intents.len() && calm.elapsed() < CALM {
            world.mine();
            caller.round(&mut world).await;
        }
        let (mut ids, transactions) = settled(&world).await;
        println!(
            "{} of {outputs} outputs, {in_storm} of them in {storm_took:.0?} of weather: {seen:?}",
            caller.done.len()
        );
        assert_eq!(
            caller.done.len(),
            world.intents.len(),
            "everything is settled in the end: {:?}; {}; the account has sent {:?}",
            caller.submitter,
            caller.last,
            world.chain.nonces(address(&es256k(2))).await
        );
        assert_eq!(ids.len(), world.intents.len(), "each output is taken once");
        assert_eq!(transactions, ids.len(), "by one transaction each");
        ids.sort_unstable();
        let mut wanted: Vec<_> = world.intents.iter().map(|(id, _)| *id).collect();
        wanted.sort_unstable();
        assert_eq!(ids, wanted);
        for what in ["reorganisations", "pool emptied", "fee jumps", "kills", "blocks"] {
            assert!(seen.get(what).is_some_and(|times| *times > 0), "the weather had no {what}: {seen:?}");
        }
    });
}
