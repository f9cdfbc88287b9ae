//! Blocks run again on a node in a process of its own: as they were, with another module, and with SQL.

use serde_json::Value;

use crate::deploy::{Place, module};
use crate::support::{Device, Home, Process};

/// Counts in the key `k`, one letter for each call, and returns how many letters there were. `jump` is from which call on
/// it adds two.
fn counter(jump: i32) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
          (import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))
          (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 16) "k") (data (i32.const 256) "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn")
          (func (export "alloc") (param i32) (result i32) (i32.const 4096))
          (func (export "run") (param i32) (result i32) (local $n i32)
            (drop (call $get (i32.const 16) (i32.const 1) (i32.const 32) (i32.const 36)))
            (local.set $n (i32.load (i32.const 36)))
            (drop (call $set (i32.const 16) (i32.const 1) (i32.const 256)
              (i32.add (local.get $n) (select (i32.const 1) (i32.const 2) (i32.lt_s (local.get $n) (i32.const {jump}))))))
            (local.get $n)))"#
    ))
    .unwrap()
}

async fn send(process: &Process, device: &Device, range: std::ops::Range<u32>) -> Vec<(String, u64)> {
    let project = process.admin.get("/v1/projects/cold-chain").await.unwrap();
    let project = project["id"].as_str().unwrap().parse().unwrap();
    let mut sent = Vec::new();
    for counter in range {
        let answer = process.send(&device.message(project, counter)).await.unwrap();
        let status = process.admin.get("/v1/projects/cold-chain").await.unwrap();
        sent.push((answer["id"].as_str().unwrap().to_owned(), status["applied"].as_u64().unwrap()));
    }
    sent
}

fn replay(place: &Place<'_>, words: &[&str]) -> (Option<i32>, Value) {
    place.run(&[&["applet", "replay", "--project", "cold-chain"], words].concat())
}

#[test]
fn a_module_is_tried_on_what_came_and_the_first_difference_is_told() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let place = Place::new(&home);
        place.deploy(&module(0, "", "x"));
        let (device, _) = home.device(&process.admin).await.unwrap();
        send(&process, &device, 0..2).await;
        place.deploy(&counter(100));
        let sent = send(&process, &device, 2..8).await;
        let before = process.admin.get("/v1/projects/cold-chain").await.unwrap();

        let (code, same) = replay(&place, &[]);
        assert_eq!((code, &same["state"], &same["calls"]), (Some(0), &"same".into(), &8.into()), "{same}");
        let other = home.dir.path().join("other.wasm");
        let wasm = ["--wasm", other.to_str().unwrap()];
        // The same module but for a number that is not reached: nothing differs, gas neither.
        std::fs::write(&other, counter(99)).unwrap();
        let from = sent[0].1.to_string();
        let late = [&wasm[..], &["--from", &from]].concat();
        let (code, same) = replay(&place, &late);
        assert_eq!((code, &same["state"], &same["calls"]), (Some(0), &"same".into(), &6.into()), "{same}");
        // The version before it gave something else, and the number of the block says from when.
        let (code, old) = replay(&place, &wasm);
        assert_eq!((code, &old["difference"]["height"]), (Some(1), &3.into()), "{old}");

        std::fs::write(&other, counter(3)).unwrap();
        let (code, told) = replay(&place, &late);
        let first = &told["difference"];
        assert_eq!((code, &told["state"]), (Some(1), &"different".into()), "{told}");
        assert_eq!((&first["message"], &first["height"]), (&sent[3].0.clone().into(), &sent[3].1.into()));
        assert_eq!((&first["field"], &first["name"]), (&"write".into(), &"k".into()));
        assert_eq!((&first["old"], &first["new"]), (&"nnnn".into(), &"nnnnn".into()));
        let text = home.command(&[&["applet", "replay", "--project", "cold-chain"], &late[..]].concat());
        let text = { text }.output().unwrap();
        let shown = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(shown.contains("field    write k") && shown.contains("handler  run"), "{shown}");
        assert!(String::from_utf8_lossy(&text.stderr).contains("does not do the same"), "{text:?}");

        // What cannot be replayed.
        std::fs::write(&other, b"no module").unwrap();
        for (words, why) in [(&late[..], "cannot run"), (&["--to", "1000"], "no span of blocks")] {
            let (code, refused) = replay(&place, words);
            assert!(code == Some(1) && refused["error"].as_str().unwrap().contains(why), "{refused}");
        }
        let after = process.admin.get("/v1/projects/cold-chain").await.unwrap();
        assert_eq!((&after["applied"], &after["attested"]), (&before["applied"], &before["applied"]));
        assert!(!home.node_dir().join("scratch").exists(), "what a replay made is thrown away");
        assert!(process.terminate().await.unwrap().success());
    });
}

/// Inserts a row into the project's database, whose device is `name`.
fn inserter(name: &str) -> Vec<u8> {
    let statement = format!(
        "{{\\22statement\\22:\\22INSERT INTO rows (device) VALUES ('{name}')\\22,\\22params\\22:[]}}"
    );
    let length = statement.replace("\\22", "\"").len();
    wat::parse_str(format!(
        r#"(module
          (import "env" "ws_set_sql_db" (func $set (param i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 256) "{statement}")
          (func (export "alloc") (param i32) (result i32) (i32.const 4096))
          (func (export "run") (param i32) (result i32) (call $set (i32.const 256) (i32.const {length}))))"#
    ))
    .unwrap()
}

#[test]
fn the_projects_database_is_made_anew_and_compared_too() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let place = Place::new(&home);
        let file = place.dir.join("w3bstream.toml");
        let manifest = std::fs::read_to_string(&file).unwrap();
        let database = "\n[database]\n[[database.tables]]\nname = \"rows\"\ncolumns = [\n\
             { name = \"id\", datatype = \"int64\", autoincrement = true },\n{ name = \"device\", datatype = \"text\" },\n]\n";
        std::fs::write(&file, manifest + database).unwrap();
        place.deploy(&inserter("a"));
        let (device, _) = home.device(&process.admin).await.unwrap();
        let sent = send(&process, &device, 0..3).await;
        let (code, same) = replay(&place, &[]);
        assert_eq!((code, &same["state"]), (Some(0), &"same".into()), "{same}");
        let other = home.dir.path().join("other.wasm");
        std::fs::write(&other, inserter("b")).unwrap();
        let (code, told) = replay(&place, &["--wasm", other.to_str().unwrap(), "--ignore-gas"]);
        let first = &told["difference"];
        assert_eq!((code, &first["field"], &first["name"]), (Some(1), &"row".into(), &"rows 1".into()), "{told}");
        assert_eq!(first["height"], sent[0].1);
        let (done, rows) = home.cli(&["project", "sql", "cold-chain"], "SELECT count(*), min(device), max(device) FROM rows");
        assert!(done && rows.replace([' ', '\n'], "").contains("[3,\"a\",\"a\"]"), "{rows}");
        assert!(process.terminate().await.unwrap().success());
    });
}
