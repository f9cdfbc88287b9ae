//! The kit against Hardhat's node, which is another implementation of the interface than anvil's: it has no receipts of a
//! whole block and no reorganisations. One process for all properties, made new for each. Run by `scripts/test-anvil`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use w3bstream_chain::conformance::{PROPERTIES, Place};
use w3bstream_chain::{Chain, Error, async_trait};
use w3bstream_chain_evm::{EvmChain, EvmSettings};
use w3bstream_types::{Address, Algorithm, SecretKey};

use crate::anvil::{CHAIN, control};
use crate::block_on;

/// A process that ends with the test.
struct Hardhat {
    child: Child,
    address: String,
}

impl Hardhat {
    fn start() -> Self {
        let folder =
            std::env::var_os("W3B_HARDHAT").expect("W3B_HARDHAT names its folder: run scripts/test-anvil");
        let mut child = Command::new("node")
            .args([
                "node_modules/hardhat/internal/cli/bootstrap.js",
                "node",
                "--hostname",
                "127.0.0.1",
                "--port",
                "0",
            ])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("hardhat starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.find_map(|line| {
            let line = line.unwrap();
            line.split_once("server at http://").map(|(_, rest)| leading_address(rest).to_owned())
        });
        let address = listening.expect("hardhat says where it listens");
        // It must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }
}

/// The `IP:port` that a text begins with. Hardhat colours the line when the environment has `CI`, so a code may follow.
fn leading_address(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(text.len());
    &text[..end]
}

impl Drop for Hardhat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct HardhatPlace<'a> {
    address: &'a str,
    /// The state before each block, to go back to.
    before: Mutex<Vec<Value>>,
}

impl<'a> HardhatPlace<'a> {
    fn new(hardhat: &'a Hardhat) -> Self {
        let place = Self { address: &hardhat.address, before: Mutex::default() };
        place.control("hardhat_reset", &json!([]));
        let address = Address::of_key(&place.key().public()).unwrap();
        place.control("hardhat_setBalance", &json!([address.to_string(), "0xde0b6b3a7640000"]));
        place.control("evm_mine", &json!([]));
        place
    }

    fn control(&self, method: &str, params: &Value) -> Value {
        control(self.address, method, params)
    }

    fn mine_one(&self) {
        let id = self.control("evm_snapshot", &json!([]));
        self.before.lock().unwrap().push(id);
        self.control("evm_mine", &json!([]));
    }
}

#[async_trait]
impl Place for HardhatPlace<'_> {
    async fn chain(&self) -> Result<Arc<dyn Chain>, Error> {
        Ok(Arc::new(EvmChain::new(EvmSettings::new(format!("http://{}", self.address), CHAIN))?))
    }

    fn key(&self) -> SecretKey {
        SecretKey::from_bytes(Algorithm::ES256K, &[0x42; 32]).unwrap()
    }

    async fn mine(&self) -> Result<(), Error> {
        self.mine_one();
        Ok(())
    }

    async fn reorg(&self, depth: u64) -> Result<bool, Error> {
        let first = {
            let mut before = self.before.lock().unwrap();
            let at = before.len() - depth as usize;
            before.drain(at..).next().unwrap()
        };
        assert_eq!(self.control("evm_revert", &json!([first])), true);
        // What waited then waits again, and is to be lost.
        for waiting in self.control("eth_pendingTransactions", &json!([])).as_array().unwrap() {
            self.control("hardhat_dropTransaction", &json!([waiting["hash"]]));
        }
        // Blocks of another time have other hashes.
        self.control("evm_increaseTime", &json!([1_000]));
        (0..depth).for_each(|_| self.mine_one());
        Ok(true)
    }
}

#[test]
#[ignore = "needs hardhat: run scripts/test-anvil"]
fn hardhat_passes_the_kit() {
    let hardhat = Hardhat::start();
    let mut failures = Vec::new();
    for property in PROPERTIES {
        match block_on(property.check(&HardhatPlace::new(&hardhat))) {
            Ok(()) => println!("hardhat passes {}", property.name),
            Err(e) => failures.push(format!("{}: {e}", property.name)),
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), PROPERTIES.len(), failures.join("\n"));
}

#[test]
fn an_address_ends_where_a_colour_does() {
    for line in ["127.0.0.1:8545/", "127.0.0.1:8545/\u{1b}[39m", "127.0.0.1:8545\u{1b}[39m", "127.0.0.1:8545"]
    {
        assert_eq!(leading_address(line), "127.0.0.1:8545", "{line:?}");
    }
}
