//! Versions of a project on a node in a process of its own: deployed while messages come, listed, and gone back to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::{Device, Home, Process, settled};

/// A module whose handler sets the key `k` to a value, publishes a text, and returns a code.
pub(crate) fn module(code: i32, value: &str, text: &str) -> Vec<u8> {
    let (key, topic) = (16, 32);
    wat::parse_str(format!(
        r#"(module
          (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
          (import "env" "ws_send_mqtt_msg" (func $send (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const {key}) "k") (data (i32.const {topic}) "topic")
          (data (i32.const 256) "{value}") (data (i32.const 1024) "{text}")
          (func (export "alloc") (param i32) (result i32) (i32.const 4096))
          (func (export "run") (param i32) (result i32)
            (drop (call $set (i32.const {key}) (i32.const 1) (i32.const 256) (i32.const {})))
            (drop (call $send (i32.const {topic}) (i32.const 5) (i32.const 1024) (i32.const {})))
            (i32.const {code})))"#,
        value.len(),
        text.len()
    ))
    .unwrap()
}

/// A project's folder on a node that runs.
pub(crate) struct Place<'a> {
    pub(crate) home: &'a Home,
    pub(crate) dir: PathBuf,
}

impl<'a> Place<'a> {
    pub(crate) fn new(home: &'a Home) -> Self {
        let manifest = "name = \"cold-chain\"\nack = \"executed\"\n\n[blocks]\nmax-entries = 8\n\n[[applets]]\n\
             name = \"a\"\nmodule = \"a.wasm\"\nroutes = [{ event-type = \"default\", handler = \"run\" }]\n";
        let dir = home.project_dir().unwrap();
        std::fs::write(dir.join("w3bstream.toml"), manifest).unwrap();
        Self { home, dir }
    }

    pub(crate) fn deploy(&self, module: &[u8]) -> Value {
        std::fs::write(self.dir.join("a.wasm"), module).unwrap();
        let (done, shown) = self.home.cli(&["project", "deploy"], &self.dir);
        assert!(done, "{shown}");
        serde_json::from_str(&shown).unwrap()
    }

    /// Runs a command that prints JSON, and gives it with its exit code.
    pub(crate) fn run(&self, words: &[&str]) -> (Option<i32>, Value) {
        let output = self.home.command(words).arg("--json").output().unwrap();
        let value = serde_json::from_slice(&output.stdout);
        let value = value.unwrap_or_else(|e| panic!("{e}: {output:?}"));
        (output.status.code(), value)
    }

    fn versions(&self) -> Vec<(u64, Value, u64)> {
        let (code, status) = self.run(&["project", "status", "cold-chain"]);
        assert_eq!(code, Some(0), "{status}");
        let all = status["versions"].as_array().unwrap().iter();
        all.map(|v| (v["version"].as_u64().unwrap(), v["restores"].clone(), v["height"].as_u64().unwrap()))
            .collect()
    }
}

/// Sends messages one after the other until it is told to stop: (height, code) of each.
async fn stream(process: &Process, device: &Device, stop: Arc<AtomicBool>) -> Vec<(u64, i64)> {
    let project = process.admin.get("/v1/projects/cold-chain").await.unwrap();
    let project = project["id"].as_str().unwrap().parse().unwrap();
    let (mut seen, mut counter) = (Vec::new(), 0);
    while !stop.load(Ordering::SeqCst) {
        let answer = process.send(&device.message(project, counter)).await.unwrap();
        counter += 1;
        let life =
            process.admin.get(&format!("/v1/messages/{}", answer["id"].as_str().unwrap())).await.unwrap();
        let ordered = life["states"][1]["reason"].as_str().unwrap();
        let height = ordered.rsplit(' ').next().unwrap().parse().unwrap();
        seen.push((height, answer["results"][0]["code"].as_i64().unwrap()));
    }
    seen
}

async fn code(process: &Process, device: &Device, counter: u32) -> i64 {
    let project = process.admin.get("/v1/projects/cold-chain").await.unwrap();
    let message = device.message(project["id"].as_str().unwrap().parse().unwrap(), counter);
    process.send(&message).await.unwrap()["results"][0]["code"].as_i64().unwrap()
}

#[test]
fn a_version_is_deployed_between_two_blocks_and_gone_back_from() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let place = Place::new(&home);
        assert_eq!(place.deploy(&module(1, "one", "x"))["version"], 1);
        let (device, _) = home.device(&process.admin).await.unwrap();

        // While messages come, none is refused, and each runs in the version of its block.
        let stop = Arc::new(AtomicBool::new(false));
        let changes = async {
            let mut heights = Vec::new();
            for version in 2..=4 {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                let module = module(version, "next", "x");
                let place = &place;
                let deployed = tokio::task::block_in_place(move || place.deploy(&module));
                heights.push(deployed["height"].as_u64().unwrap());
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            stop.store(true, Ordering::SeqCst);
            heights
        };
        let (seen, heights) = tokio::join!(stream(&process, &device, stop.clone()), changes);
        for (height, code) in &seen {
            let version = 1 + heights.iter().filter(|h| *h <= height).count();
            assert_eq!(*code, i64::try_from(version).unwrap(), "block {height} of {heights:?}: {seen:?}");
        }
        let ran: std::collections::BTreeSet<i64> = seen.iter().map(|(_, code)| *code).collect();
        assert_eq!(ran.len(), 4, "each version had messages: {seen:?}");

        // What cannot run is not deployed, and nothing changes.
        let wrong = wat::parse_str("(module (memory (export \"memory\") 1) (func (export \"other\") (param i32) (result i32) (i32.const 9)))").unwrap();
        std::fs::write(place.dir.join("a.wasm"), wrong).unwrap();
        let (done, shown) = home.cli(&["project", "deploy"], &place.dir);
        assert!(!done && shown.contains("exports no handler"), "{shown}");
        assert_eq!(code(&process, &device, 10_000).await, 4);

        let (exit, back) = place.run(&["project", "rollback", "cold-chain"]);
        assert_eq!((exit, &back["version"], &back["restores"]), (Some(0), &5.into(), &3.into()), "{back}");
        assert_eq!(code(&process, &device, 10_001).await, 3);
        // Not back to 4, which was left.
        let (_, back) = place.run(&["project", "rollback", "cold-chain"]);
        assert_eq!((&back["version"], &back["restores"]), (&6.into(), &2.into()), "{back}");
        assert!(process.terminate().await.unwrap().success());

        let process = home.start(&[]).await.unwrap();
        assert_eq!(code(&process, &device, 10_002).await, 2, "a restart goes on in the version");
        let (_, back) = place.run(&["project", "rollback", "cold-chain", "--to", "1"]);
        assert_eq!(back["version"], 7, "{back}");
        assert_eq!(code(&process, &device, 10_003).await, 1);
        for (to, why) in [(vec![], "none before it"), (vec!["--to", "9"], "never in force"), (vec!["--to", "7"], "is in force")] {
            let (exit, refused) = place.run(&[&["project", "rollback", "cold-chain"], &to[..]].concat());
            assert!(exit == Some(1) && refused["error"].as_str().unwrap().contains(why), "{refused}");
        }
        let versions = place.versions();
        let shown: Vec<(u64, Option<u64>)> = versions.iter().map(|(v, r, _)| (*v, r.as_u64())).collect();
        assert_eq!(
            shown,
            [(7, Some(1)), (6, Some(2)), (5, Some(3)), (4, None), (3, None), (2, None), (1, None)]
        );
        let of = |version: usize| versions[7 - version].2;
        assert_eq!(heights, [of(2), of(3), of(4)]);
        settled(&process.admin).await.unwrap();
        let text = home.command(&["project", "status", "cold-chain"]).output().unwrap();
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains("in force") && text.contains("as version 1") && text.contains("by did:key:"), "{text}");
        assert!(process.terminate().await.unwrap().success());
    });
}
