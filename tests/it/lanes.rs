//! Applets whose state is split by device, on a node in a process of its own, and the same blocks on one thread.

use futures_util::future::join_all;
use hyper::{Method, header};
use serde_json::Value;
use w3bstream_node::Http;
use w3bstream_types::ProjectId;

use crate::support::{Device, Home, Process, settled};

/// Counts in the key `n`, and in another applet in the key `n` of its own. `query` asks the database.
const COUNTER: &str = r#"(module
  (import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "n")
  (func (export "alloc") (param i32) (result i32) (i32.const 65536))
  (func (export "run") (param i32) (result i32) (local $n i32)
    (loop $on
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $on (i32.lt_u (local.get $n) (i32.const 200000))))
    (if (i32.eqz (call $get (i32.const 16) (i32.const 1) (i32.const 24) (i32.const 28)))
      (then (i32.store (i32.const 200) (i32.load (i32.load (i32.const 24))))))
    (i32.store (i32.const 200) (i32.add (i32.load (i32.const 200)) (i32.const 1)))
    (call $set (i32.const 16) (i32.const 1) (i32.const 200) (i32.const 4))))"#;

/// Imports a function of the database.
const ASKS: &str = r#"(module
  (import "env" "ws_set_sql_db" (func $sql (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "run") (param i32) (result i32) (call $sql (i32.const 0) (i32.const 0))))"#;

const MANIFEST: &str = r#"name = "cold-chain"
ack = "executed"

[[applets]]
name = "each"
module = "counter.wasm"
routes = [{ event-type = "default", handler = "run" }]
partition = "device"

[[applets]]
name = "all"
module = "counter.wasm"
routes = [{ event-type = "default", handler = "run" }]
"#;

async fn send(process: &Process, (project, device, counter): (ProjectId, &Device, u32)) -> Value {
    let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
    let url = format!("{}/v1/projects/cold-chain/events", process.running.http);
    let bytes = w3bstream_wire::encode_envelope(&device.message(project, counter));
    let answer = Http::default().send((Method::POST, &url), &kind, bytes).await.unwrap();
    answer.json().unwrap()
}

async fn count(process: &Process, path: &str) -> anyhow::Result<u32> {
    let bytes = process.admin.get_bytes(&format!("/v1/projects/cold-chain/state/{path}")).await?;
    Ok(u32::from_le_bytes(bytes[..4].try_into()?))
}

#[test]
fn states_of_devices_are_apart_and_one_thread_gives_what_two_gave() {
    const DEVICES: usize = 5;
    const EACH: u32 = 12;
    let threads = |n: &str| [("W3BSTREAM_ENGINE__THREADS", n.to_owned())];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&threads("2")).await.unwrap();
        let folder = home.project_dir().unwrap();
        std::fs::write(folder.join("counter.wasm"), wat::parse_str(COUNTER).unwrap()).unwrap();
        std::fs::write(folder.join("w3bstream.toml"), MANIFEST).unwrap();
        let (deployed, shown) = home.cli(&["project", "deploy"], &folder);
        assert!(deployed, "{shown}");
        let mut devices = Vec::new();
        for _ in 0..DEVICES {
            devices.push(home.device(&process.admin).await.unwrap());
        }
        let calls = (0..EACH).flat_map(|n| devices.iter().map(move |(device, id)| (*id, device, n)));
        let answers = join_all(calls.map(|call| send(&process, call))).await;
        assert!(answers.iter().all(|a| a["results"].as_array().is_some_and(|r| r.len() == 2)), "{answers:?}");
        settled(&process.admin).await.unwrap();
        for (device, _) in &devices {
            assert_eq!(count(&process, &format!("each/n?of={}", device.key.did())).await.unwrap(), EACH);
        }
        assert_eq!(count(&process, "all/n").await.unwrap(), EACH * DEVICES as u32);
        let told = count(&process, "each/n").await.unwrap_err().to_string();
        assert!(told.contains("split by device") && told.contains("?of="), "{told}");

        // A partition stays, and has no database.
        let deploy = |manifest: &str, module: &str| {
            std::fs::write(folder.join("counter.wasm"), wat::parse_str(module).unwrap()).unwrap();
            std::fs::write(folder.join("w3bstream.toml"), manifest).unwrap();
            home.cli(&["project", "deploy"], &folder)
        };
        let (done, told) = deploy(&MANIFEST.replace("partition = \"device\"\n", ""), COUNTER);
        assert!(!done && told.contains("each has partition"), "{told}");
        let (done, told) = deploy(MANIFEST, ASKS);
        assert!(!done && told.contains("take the line") && told.contains("ws_set_sql_db"), "{told}");

        // The same blocks on one thread have the same roots.
        assert!(process.terminate().await.unwrap().success());
        let process = home.start(&threads("1")).await.unwrap();
        let output =
            home.command(&["applet", "replay", "--project", "cold-chain", "--json"]).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let calls = EACH * 2 * DEVICES as u32;
        assert_eq!((&told["state"], &told["calls"]), (&"same".into(), &calls.into()), "{told}");
        assert!(process.terminate().await.unwrap().success());
    });
}
