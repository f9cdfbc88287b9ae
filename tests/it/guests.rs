//! Guests that misbehave: each is stopped or answered as the ABI says, and the node and its other applets go on.

use std::path::Path;

use crate::support::Home;

const GET_DATA: &str = r#"(import "env" "ws_get_data" (func $get (param i32 i32 i32) (result i32)))"#;

/// Asks for its event's data with the given `alloc`.
fn asks(alloc: &str) -> String {
    format!(
        r#"(module {GET_DATA} (memory (export "memory") 1) {alloc}
            (func (export "run") (param i32) (result i32)
              (call $get (local.get 0) (i32.const 8) (i32.const 12))))"#
    )
}

/// Name, module, and what the handler gives or why it is stopped.
fn guests() -> Vec<(&'static str, String, Result<i64, &'static str>)> {
    let alloc = |body: &str| format!(r#"(func (export "alloc") (param i32) (result i32) {body})"#);
    let alone = |body: &str| {
        format!(
            r#"(module (memory (export "memory") 1)
                (func (export "run") (param i32) (result i32) {body}))"#
        )
    };
    vec![
        ("alloc-traps", asks(&alloc("unreachable")), Err("trap")),
        ("alloc-outside", asks(&alloc("(i32.const 0x7ffffff0)")), Ok(5)),
        ("alloc-negative", asks(&alloc("(i32.const -1)")), Ok(5)),
        ("alloc-at-the-end", asks(&alloc("(i32.const 65535)")), Ok(5)),
        ("endless", alone("(loop $l (br $l)) (i32.const 0)"), Err("out-of-gas")),
        ("deep", recursion(), Err("stack-overflow")),
        // Grows until it is told no, then gives how many pages it has: 1 MiB.
        (
            "memory",
            alone("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (memory.size)"),
            Ok(16),
        ),
        ("outside", alone("(i32.load (i32.const 65536))"), Err("trap")),
        ("wasi-exit", wasi("(call $exit (i32.const 3))"), Err("exit")),
        ("wasi-endless", wasi("(loop $l (br $l))"), Err("out-of-gas")),
        (
            "wasi-flood",
            wasi(
                "(loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))",
            ),
            Err("output-limit"),
        ),
        ("wasi-honest", wasi(""), Ok(0)),
        ("honest", asks(&alloc("(i32.const 1024)")), Ok(0)),
    ]
}

/// A WASI program; 65,536 bytes are at the iovec at 0.
fn wasi(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
              (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_filestat_get" (func $stat (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (data (i32.const 0) "\00\00\00\00\00\00\01\00") (data (i32.const 16) "seen")
            (func (export "run") {body}))"#
    )
}

fn recursion() -> String {
    r#"(module (memory (export "memory") 1)
        (func $f (param i32) (result i32) (call $f (local.get 0)))
        (func (export "run") (param i32) (result i32) (call $f (local.get 0))))"#
        .to_owned()
}

fn write_project(dir: &Path, guests: &[(&str, String)]) {
    let mut text = String::from("name = \"cold-chain\"\nack = \"executed\"\n");
    for (name, wat) in guests {
        std::fs::write(dir.join(format!("{name}.wasm")), wat::parse_str(wat).unwrap()).unwrap();
        text.push_str(&format!(
            "\n[[applets]]\nname = \"{name}\"\nmodule = \"{name}.wasm\"\nlimits = {{ gas = 1000000, memory-bytes = 1048576 }}\n\
             routes = [{{ event-type = \"default\", handler = \"run\" }}]\n"
        ));
    }
    std::fs::write(dir.join("w3bstream.toml"), text).unwrap();
}

fn deploy(home: &Home, project: &Path) -> (bool, String) {
    home.cli(&["project", "deploy"], project)
}

#[test]
fn a_guest_that_misbehaves_harms_nobody() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let project = home.project_dir().unwrap();
        let modules: Vec<_> = guests().into_iter().map(|(name, wat, _)| (name, wat)).collect();
        write_project(&project, &modules);
        let (deployed, shown) = deploy(&home, &project);
        assert!(deployed, "{shown}");
        let (device, id) = home.device(&process.admin).await.unwrap();
        // Twice, since what a guest leaves behind would show the second time.
        for counter in 0..2 {
            let answer = process.send(&device.message(id, counter)).await.unwrap();
            let results = answer["results"].as_array().unwrap();
            assert_eq!(results.len(), guests().len(), "{answer}");
            for ((name, _, expected), result) in guests().iter().zip(results) {
                assert_eq!(result["applet"], *name);
                match expected {
                    Ok(code) => assert_eq!(result["code"].as_i64(), Some(*code), "{name}: {result}"),
                    Err(why) => assert_eq!(result["error"].as_str(), Some(*why), "{name}: {result}"),
                }
            }
        }
        assert!(process.terminate().await.unwrap().success());
    });
}

/// Adds a byte to a file for each event, and fails once there are three.
const COUNTS: &str = "
    (if (call $open (i32.const 4) (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 1)
      (i64.const 0x1fffffff) (i64.const 0) (i32.const 1) (i32.const 24)) (then unreachable))
    (i32.store (i32.const 4) (i32.const 1))
    (if (call $write (i32.load (i32.const 24)) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (if (call $stat (i32.load (i32.const 24)) (i32.const 64)) (then unreachable))
    (if (i64.ge_u (i64.load (i32.const 96)) (i64.const 3)) (then (call $exit (i32.const 1))))";

#[test]
fn files_of_a_wasi_program_are_there_for_the_next_event() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let project = home.project_dir().unwrap();
        write_project(&project, &[("counts", wasi(COUNTS))]);
        let (deployed, shown) = deploy(&home, &project);
        assert!(deployed, "{shown}");
        let (device, id) = home.device(&process.admin).await.unwrap();
        // What the third adds is taken back, so the fourth finds what the third found.
        for (counter, expected) in [(0, None), (1, None), (2, Some("exit")), (3, Some("exit"))] {
            let answer = process.send(&device.message(id, counter)).await.unwrap();
            assert_eq!(answer["results"][0]["error"].as_str(), expected, "{answer}");
        }
        assert!(process.terminate().await.unwrap().success());
    });
}

#[test]
fn a_module_that_cannot_run_is_refused_when_it_is_deployed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let project = home.project_dir().unwrap();
        let honest = guests().pop().unwrap().1;
        let misspelt = honest.replace("ws_get_data", "ws_get_dta");
        for (wat, said) in [
            (asks(""), "alloc"),
            (misspelt, "did you mean env.ws_get_data"),
            (honest.replace("(export \"memory\")", ""), "memory"),
            (honest.replace("\"run\"", "\"walk\""), "run"),
        ] {
            write_project(&project, &[("applet", wat)]);
            let (deployed, shown) = deploy(&home, &project);
            assert!(!deployed && shown.contains(said), "{said}: {shown}");
        }
        std::fs::write(project.join("applet.wasm"), b"no module").unwrap();
        let (deployed, shown) = deploy(&home, &project);
        assert!(!deployed && shown.contains("applet"), "{shown}");
        // A manifest that is none, and one with a misspelt key: the line and the nearest key are named.
        write_project(&project, &[("applet", honest)]);
        let manifest = project.join("w3bstream.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        for (wrong, said) in [
            (text.replace("ack =", "akc ="), ["line 2", "\"ack\""]),
            (text.replace("handler", "handle"), ["line", "\"handler\""]),
            (text.replace("\"executed\"", "executed"), ["line 2", "w3bstream.toml"]),
            (text.replace("\"executed\"", "\"sometime\""), ["line 2", "executed"]),
            (text.replace("cold-chain", "Cold Chain"), ["line 1", "Cold Chain"]),
        ] {
            std::fs::write(&manifest, wrong).unwrap();
            let (deployed, shown) = deploy(&home, &project);
            assert!(!deployed && said.iter().all(|s| shown.contains(s)), "{said:?}: {shown}");
        }
        std::fs::write(&manifest, text).unwrap();
        let (deployed, shown) = deploy(&home, &project);
        assert!(deployed, "{shown}");
        let (device, id) = home.device(&process.admin).await.unwrap();
        let answer = process.send(&device.message(id, 0)).await.unwrap();
        assert_eq!(answer["results"][0]["code"], 0);
        assert!(process.terminate().await.unwrap().success());
    });
}
