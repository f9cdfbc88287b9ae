//! The kit against a real anvil, one process for each property. These tests need its binary and are run by
//! `scripts/test-anvil`, which fails if there is none.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use w3bstream_chain::conformance::{PROPERTIES, Place};
use w3bstream_chain::{Chain, Error, async_trait};
use w3bstream_chain_evm::{EvmChain, EvmSettings};
use w3bstream_types::{Address, Algorithm, SecretKey};

use crate::block_on;

pub(crate) const CHAIN: u64 = 31_337;

/// A process that ends with the test.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) address: String,
}

impl Anvil {
    pub(crate) fn start(more: &[&str]) -> Self {
        let binary =
            std::env::var_os("W3B_ANVIL").expect("W3B_ANVIL names the binary: run scripts/test-anvil");
        let chain = CHAIN.to_string();
        let mut child = Command::new(binary)
            .args(["--port", "0", "--no-mining", "--accounts", "1", "--chain-id", &chain])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned));
        let address = listening.expect("anvil says where it listens");
        // It must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// A method of anvil's own.
    pub(crate) fn control(&self, method: &str, params: &Value) -> Value {
        control(&self.address, method, params)
    }
}

/// A method that only a node for tests has, by a plain HTTP client.
pub(crate) fn control(address: &str, method: &str, params: &Value) -> Value {
    use std::io::{Read as _, Write as _};
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    // An older version than 1.1, so that the answer comes in one piece.
    let head = "POST / HTTP/1.0\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let answer: Value = serde_json::from_str(body).unwrap();
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct AnvilPlace(Anvil);

impl AnvilPlace {
    fn new() -> Self {
        let anvil = Anvil::start(&[]);
        let place = Self(anvil);
        let address = Address::of_key(&place.key().public()).unwrap();
        place.0.control("anvil_setBalance", &json!([address.to_string(), "0xde0b6b3a7640000"]));
        place.0.control("evm_mine", &json!([]));
        place
    }
}

#[async_trait]
impl Place for AnvilPlace {
    async fn chain(&self) -> Result<Arc<dyn Chain>, Error> {
        Ok(Arc::new(EvmChain::new(EvmSettings::new(format!("http://{}", self.0.address), CHAIN))?))
    }

    fn key(&self) -> SecretKey {
        SecretKey::from_bytes(Algorithm::ES256K, &[0x42; 32]).unwrap()
    }

    async fn mine(&self) -> Result<(), Error> {
        self.0.control("evm_mine", &json!([]));
        Ok(())
    }

    async fn reorg(&self, depth: u64) -> Result<bool, Error> {
        self.0.control("anvil_reorg", &json!([depth, []]));
        Ok(true)
    }
}

#[test]
#[ignore = "needs anvil: run scripts/test-anvil"]
fn anvil_passes_the_kit() {
    let mut failures = Vec::new();
    for property in PROPERTIES {
        let place = AnvilPlace::new();
        match block_on(property.check(&place)) {
            Ok(()) => println!("anvil passes {}", property.name),
            Err(e) => failures.push(format!("{}: {e}", property.name)),
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), PROPERTIES.len(), failures.join("\n"));
}
