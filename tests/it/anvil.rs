//! A node and a real anvil: a guest reads a contract, sends to it, and is told of what it emitted and what became of the
//! transaction. Needs anvil's binary and is run by `scripts/test-anvil`, which fails if there is none.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::{Method, header};
use serde_json::{Value, json};
use w3bstream_types::{Algorithm, Control, DeviceRegistration, Draft, Sequence, Timestamp, keccak256};
use w3bstream_wallet_file::DeviceKey;

use crate::support::{Home, Process, binary};

/// The first account of anvil's own, which it signs for.
const RICH: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";

/// A process that ends with the test.
struct Anvil {
    child: Child,
    rpc: String,
}

impl Anvil {
    #[allow(clippy::disallowed_methods, reason = "the script says where the binary is")]
    fn start() -> Self {
        let program =
            std::env::var_os("W3B_ANVIL").expect("W3B_ANVIL names the binary: run scripts/test-anvil");
        let mut child = Command::new(program)
            .args(["--port", "0", "--accounts", "1", "--chain-id", "31337"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned));
        let rpc = format!("http://{}", listening.expect("anvil says where it listens"));
        // It must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, rpc }
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let kind = [(header::CONTENT_TYPE, "application/json".to_owned())];
        let answer = w3bstream_node::Http::default().send((Method::POST, &self.rpc), &kind, body).await;
        let answer: Value = answer.unwrap().json().unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Creates a contract that emits what it is called with under `Noted(bytes)`, and returns the block's height.
    async fn deploy(&self) -> String {
        // CALLDATACOPY(0, 0, size); LOG1(0, size, topic); MSTORE(0, NUMBER); RETURN(0, 32).
        let topic = keccak256(b"Noted(bytes)");
        let (copy, log) = ([0x36, 0x60, 0, 0x60, 0, 0x37, 0x7f], [0x36, 0x60, 0, 0xa1]);
        let give = [0x43, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3];
        let runtime = [&copy[..], &topic, &log, &give].concat();
        let size = u8::try_from(runtime.len()).unwrap();
        let code = [&[0x60, size, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3], &runtime[..]].concat();
        let hex: String = code.iter().map(|b| format!("{b:02x}")).collect();
        let hash = self.ask("eth_sendTransaction", json!([{"from": RICH, "data": format!("0x{hex}")}])).await;
        // It mines at once, which is not before it answers.
        let mined = async {
            loop {
                let receipt = self.ask("eth_getTransactionReceipt", json!([hash])).await;
                if let Some(contract) = receipt["contractAddress"].as_str() {
                    return contract.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), mined).await.unwrap()
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The payload of a message is the request to a contract: `ask` reads with it, then sends it; `noted` and `state` keep
/// what they are told.
const GUEST: &str = r#"(module
  (import "env" "ws_get_data" (func $get (param i32 i32 i32) (result i32)))
  (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_call_contract" (func $call (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "ws_send_tx" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 1024))
  (func (export "alloc") (param i32) (result i32)
    (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (data (i32.const 100) "answer") (data (i32.const 110) "id")
  (data (i32.const 120) "noted") (data (i32.const 130) "state")
  (func $keep (param $rid i32) (param $key i32) (result i32)
    (if (call $get (local.get $rid) (i32.const 8) (i32.const 12)) (then (return (i32.const 1))))
    (call $set (local.get $key) (i32.const 5) (i32.load (i32.const 8)) (i32.load (i32.const 12))))
  (func (export "noted") (param i32) (result i32) (call $keep (local.get 0) (i32.const 120)))
  (func (export "state") (param i32) (result i32) (call $keep (local.get 0) (i32.const 130)))
  (func (export "ask") (param i32) (result i32)
    (if (call $get (local.get 0) (i32.const 8) (i32.const 12)) (then (return (i32.const 1))))
    (if (call $call (i32.const 31337) (i32.load (i32.const 8)) (i32.load (i32.const 12)) (i32.const 16) (i32.const 20))
      (then (return (i32.const 2))))
    (drop (call $set (i32.const 100) (i32.const 6) (i32.load (i32.const 16)) (i32.load (i32.const 20))))
    (if (call $send (i32.const 31337) (i32.load (i32.const 8)) (i32.load (i32.const 12)) (i32.const 16) (i32.const 20))
      (then (return (i32.const 3))))
    (drop (call $set (i32.const 110) (i32.const 2) (i32.load (i32.const 16)) (i32.load (i32.const 20))))
    (i32.const 0)))"#;

fn manifest(contract: &str) -> String {
    format!(
        r#"name = "p"
ack = "executed"

[[applets]]
name = "guest"
module = "guest.wasm"
routes = [
  {{ event-type = "ask", handler = "ask" }},
  {{ event-type = "noted", handler = "noted" }},
  {{ event-type = "sent", handler = "state" }},
]

[[chains]]
chain-id = 31337
read = true
send = true

[[triggers]]
name = "notes"
event-type = "noted"
log = {{ chain-id = 31337, contract = "{contract}", event = "Noted(bytes)", confirmations = 1 }}

[[triggers]]
name = "sent"
event-type = "sent"
sent = {{}}

[[triggers]]
name = "minutes"
event-type = "minute"
cron = {{ schedule = "* * * * *" }}
"#
    )
}

/// Runs the command line and gives its JSON.
fn run(home: &Home, args: &[&str]) -> Value {
    let mut command = Command::new(binary());
    command.args(args).args(["--json", "--dir"]).arg(home.node_dir());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits for a value that the guest keeps.
async fn kept(process: &Process, key: &str, wanted: &str) -> String {
    let mut found = String::new();
    for _ in 0..600 {
        let path = format!("/v1/projects/p/state/guest/{key}");
        if let Ok(value) = process.admin.get_bytes(&path).await {
            found = String::from_utf8_lossy(&value).into_owned();
            if found.contains(wanted) {
                return found;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{key} is {found}: {}", process.admin.get("/v1/projects/p").await.unwrap());
}

#[test]
#[ignore = "needs anvil: run scripts/test-anvil"]
fn a_guest_reads_sends_and_is_told() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let anvil = Anvil::start();
        let contract = anvil.deploy().await;
        let home = Home::new().unwrap();
        let settings = home.node_dir().join("node.toml");
        let chain = format!("\n[[chains]]\nid = 31337\nconfirmations = 1\nrpc = \"{}\"\n", anvil.rpc);
        let text = std::fs::read_to_string(&settings).unwrap().replace("chains = []", "");
        std::fs::write(&settings, text + &chain).unwrap();
        let process = home.start(&[]).await.unwrap();
        let project = home.dir.path().join("project");
        std::fs::create_dir(&project).unwrap();
        std::fs::write(project.join("guest.wasm"), wat::parse_str(GUEST).unwrap()).unwrap();
        std::fs::write(project.join("w3bstream.toml"), manifest(&contract)).unwrap();
        run(&home, &["project", "deploy", project.to_str().unwrap()]);
        let account = run(&home, &["project", "account", "p"])["account"].as_str().unwrap().to_owned();
        anvil.ask("anvil_setBalance", json!([account, "0x8ac7230489e80000"])).await;

        let key = DeviceKey::generate(Algorithm::EdDSA).unwrap();
        let device = Control::RegisterDevice(DeviceRegistration {
            device: key.did(),
            key: key.public(),
            event_types: vec![],
        });
        process.admin.change(&"p".parse().unwrap(), device, &home.owner).await.unwrap();
        let status = process.admin.get("/v1/projects/p").await.unwrap();
        let draft = Draft {
            audience: status["id"].as_str().unwrap().parse().unwrap(),
            key: key.did().default_key_id(),
            event_type: "ask".parse().unwrap(),
            sequence: Sequence::new(0, 1),
            time: Timestamp(1),
            payload: json!({"to": contract, "data": "0a0b"}).to_string().into_bytes(),
        };
        let envelope = draft.sign_envelope([1; 16], key.secret());
        let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
        let url = format!("{}/v1/projects/p/events", process.running.http);
        let bytes = w3bstream_wire::encode_envelope(&envelope);
        let answer = w3bstream_node::Http::default().send((Method::POST, &url), &kind, bytes).await.unwrap();
        let told = answer.json().unwrap();
        assert_eq!(told["results"][0]["code"], 0, "{told}: {}", home.log());

        let answer = kept(&process, "answer", "").await.into_bytes();
        assert!(answer.len() == 32 && answer[..31] == [0; 31] && answer[31] > 0, "a low height: {answer:?}");
        let noted: Value = serde_json::from_str(&kept(&process, "noted", "0x0a0b").await).unwrap();
        assert_eq!((&noted["data"], &noted["removed"]), (&"0x0a0b".into(), &false.into()));
        let state: Value = serde_json::from_str(&kept(&process, "state", "CONFIRMED").await).unwrap();
        assert_eq!(state["hash"], noted["transactionHash"], "the event is of the guest's own transaction");
        let ended = async {
            loop {
                let found = run(&home, &["transaction", "list", "--project", "p", "--ended"]);
                if let Some(ended) = found["transactions"].as_array().unwrap().first() {
                    return ended.clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
        assert_eq!(ended["state"], "confirmed", "{ended}");
        let id = ended["id"].as_str().unwrap();
        assert_eq!(state["transactionID"], format!("0x{id}"));
        assert_eq!(kept(&process, "id", "0x").await, format!("0x{id}"), "what the guest got is what is told");
        assert_eq!(run(&home, &["transaction", "show", "--project", "p", id]), ended);
        let receipt = anvil.ask("eth_getTransactionReceipt", json!([ended["transaction"]])).await;
        assert_eq!((&receipt["status"], &receipt["from"]), (&"0x1".into(), &account.into()));
        assert_eq!(receipt["transactionHash"], state["hash"]);
        assert_eq!(receipt["logs"].as_array().unwrap().len(), 1);
        println!("anvil: a guest's transaction {} is confirmed and told", ended["transaction"]);
        assert!(process.terminate().await.unwrap().success());
    });
}
