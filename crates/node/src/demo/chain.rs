//! The demo's chain: an EVM inside this process, or a node of the user's, with the contracts on it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use w3bstream_chain::{Call, Chain, Receipt, SignedTransaction, Simulation, Transaction};
use w3bstream_chain_dev::{DevChain, dev_key};
use w3bstream_chain_evm::{EvmChain, EvmSettings};
use w3bstream_contracts::{VerifyingKey, deploy, register_call};
use w3bstream_types::{Address, Algorithm, Genesis, ProjectId, SecretKey, SystemClock};

use crate::{ChainSettings, Circuit, Config, Registry};

const WITNESS: &[u8] = include_bytes!("../../../../artefacts/cold-chain-day.wasm");
const KEY: &[u8] = include_bytes!("../../../../artefacts/cold-chain-day.zkey");
const VERIFYING_KEY: &str = include_str!("../../../../artefacts/cold-chain-day.vkey.json");
/// The registered name of the demo's chain.
const KIND: &str = "demo";
/// How long a transaction of the demo may take to be mined.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the project's account gets to pay its transactions with, in wei.
const FUNDS: u128 = 10 * 10_u128.pow(18);
/// The first account of the development nodes (anvil, hardhat): its key is public, and worth nothing elsewhere.
const WELL_KNOWN: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Chain ids of development nodes.
const DEVELOPMENT: [u64; 2] = [31_337, 1_337];

/// A chain, and an account on it that pays for the contracts.
#[derive(Clone)]
pub(super) struct DemoChain {
    pub(super) chain: Arc<dyn Chain>,
    pub(super) id: u64,
    /// Where it is, for people.
    pub(super) shown: String,
    payer: SecretKey,
}

/// Where the contracts are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contracts {
    pub(super) registry: Address,
    pub(super) executor: Address,
    pub(super) cold_chain: Address,
}

impl DemoChain {
    /// The chain inside this process.
    pub(super) fn embedded() -> Self {
        let settings = w3bstream_chain_dev::Settings {
            clock: Some(Arc::new(SystemClock)),
            ..w3bstream_chain_dev::Settings::default()
        };
        let id = settings.chain_id;
        let chain = Arc::new(DevChain::new(settings));
        Self { chain, id, shown: "embedded EVM, in memory".to_owned(), payer: dev_key(0) }
    }

    /// The chain of a node. The key that pays is in `key`, 64 hex digits; without one it is the public key of
    /// development nodes, on their chains only.
    pub(super) async fn of_node(url: &str, key: Option<&Path>) -> anyhow::Result<Self> {
        let id = chain_id(url).await?;
        let chain = Arc::new(EvmChain::new(EvmSettings::new(url, id))?);
        let text = match key {
            Some(path) => {
                std::fs::read_to_string(path).with_context(|| format!("--rpc-key {}", path.display()))?
            }
            None if DEVELOPMENT.contains(&id) => WELL_KNOWN.to_owned(),
            None => bail!(
                "chain {id} is no development chain: name a file with the key that pays, --rpc-key FILE"
            ),
        };
        let bytes = decode_key(text.trim()).context("--rpc-key must hold 64 hex digits")?;
        let payer = SecretKey::from_bytes(Algorithm::ES256K, &bytes)?;
        Ok(Self { chain, id, shown: format!("chain {id} at {url}"), payer })
    }

    /// The node's settings for this chain, and the registry that opens it.
    pub(super) fn join(&self, registry: Registry, config: &mut Config) -> Registry {
        config.chains = vec![ChainSettings {
            id: self.id,
            kind: KIND.to_owned(),
            confirmations: 1,
            max_fee_gwei: 500,
            max_in_flight: 16,
            bump_after_seconds: 60,
            settings: toml::Table::new(),
        }];
        config.limits.settle_every_ms = 50;
        // Nobody else wants the machine while the demo plays.
        config.limits.prover_threads = crate::config::cores();
        let chain = self.chain.clone();
        registry.with_chain(KIND, move |_| Ok(chain.clone()))
    }

    /// Puts the contracts on the chain, in the order in which they know each other.
    pub(super) async fn deploy(&self, project: ProjectId) -> anyhow::Result<Contracts> {
        let payer = Address::of_key(&self.payer.public())?;
        let key = VerifyingKey::from_snarkjs(VERIFYING_KEY)?;
        let registry = self.create("SubnetRegistry", deploy::registry(&payer, 0)).await?;
        let executor = self.create("Executor", deploy::executor(&registry)).await?;
        let verifier = self.create("Groth16Verifier", deploy::groth16_verifier(&key)).await?;
        let cold_chain = self.create("ColdChain", deploy::cold_chain(&executor, &verifier, &project)).await?;
        Ok(Contracts { registry, executor, cold_chain })
    }

    /// Tells the registry who the subnet's members are.
    pub(super) async fn register(&self, contracts: &Contracts, genesis: &Genesis) -> anyhow::Result<()> {
        let owner = Address::of_key(&self.payer.public())?;
        let data = register_call(&owner, genesis)?;
        self.send("register", Some(contracts.registry), 0, data).await.map(drop)
    }

    /// Gives an account something to pay with.
    pub(super) async fn fund(&self, account: Address) -> anyhow::Result<()> {
        self.send("funding", Some(account), FUNDS, Vec::new()).await.map(drop)
    }

    async fn create(&self, name: &str, code: Vec<u8>) -> anyhow::Result<Address> {
        let receipt = self.send(name, None, 0, code).await?;
        receipt.created.with_context(|| format!("{name} was not created"))
    }

    /// Sends a transaction and waits until it is mined.
    async fn send(
        &self,
        what: &str,
        to: Option<Address>,
        value: u128,
        data: Vec<u8>,
    ) -> anyhow::Result<Receipt> {
        let from = Address::of_key(&self.payer.public())?;
        let call = Call { from: Some(from), to, value, data, gas_limit: None };
        let gas = match self.chain.simulate(&call).await.with_context(|| what.to_owned())? {
            Simulation::Gas(gas) => gas,
            Simulation::Reverted(revert) => bail!("{what} {revert}"),
        };
        let (nonces, fees) = (self.chain.nonces(from).await?, self.chain.fees().await?);
        let transaction = Transaction {
            chain_id: self.id,
            nonce: nonces.pending,
            priority_fee: fees.priority_fee,
            max_fee: fees.base_fee.saturating_mul(2).saturating_add(fees.priority_fee),
            // The state may change before it is mined.
            gas_limit: gas.saturating_add(gas / 4),
            to,
            value,
            data: call.data,
        };
        let hash = transaction.signing_hash();
        let signature = self.payer.sign_recoverable(hash.as_bytes()).context("the payer's key")?;
        let signed = SignedTransaction::new(transaction, &signature)?;
        self.chain.submit(&signed).await.with_context(|| what.to_owned())?;
        let until = Instant::now() + PATIENCE;
        loop {
            match self.chain.receipt(signed.hash()).await? {
                Some(receipt) if receipt.success => return Ok(receipt),
                Some(receipt) => bail!("{what} failed in transaction {}", receipt.transaction),
                None if Instant::now() > until => bail!("{what} is not mined: {}", signed.hash()),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// The files of the circuit.
pub(super) fn circuit() -> Circuit {
    Circuit { witness: WITNESS.to_vec(), key: KEY.to_vec() }
}

/// The settlement of the demo's manifest, for these contracts.
pub(super) fn settlement(chain_id: u64, contracts: &Contracts) -> String {
    let Contracts { executor, cold_chain, .. } = contracts;
    format!(
        r#"
[[settlements]]
name = "day"
chain-id = {chain_id}
executor = "{executor}"
contract = "{cold_chain}"
fields = [
  "bytes32 project", "bytes32 device", "uint32 day", "uint8 n", "int32 lo", "int32 hi", "int32 a", "uint8 r",
  "uint256 commitment",
]

[settlements.proof]
system = "groth16-bn254"
witness = "cold-chain-day.wasm"
key = "cold-chain-day.zkey"
private = "witness/{{commitment}}"
"#
    )
}

fn decode_key(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

/// Asks a node which chain it serves.
async fn chain_id(url: &str) -> anyhow::Result<u64> {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#.to_vec();
    let kind = [(hyper::header::CONTENT_TYPE, "application/json".to_owned())];
    let answer = crate::Http::default().send((hyper::Method::POST, url), &kind, body).await;
    let answer = answer.with_context(|| format!("--rpc {url} does not answer"))?.json()?;
    let text = answer["result"].as_str().with_context(|| format!("--rpc {url}: no eth_chainId: {answer}"))?;
    u64::from_str_radix(text.trim_start_matches("0x"), 16).with_context(|| format!("{text} is no chain id"))
}
