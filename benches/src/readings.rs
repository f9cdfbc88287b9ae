//! A project whose handler writes each reading into the applet's state: our side of the comparison with Node-RED.

use std::path::Path;

use anyhow::Context as _;

/// Reads its event and sets a key: the payload's first 35 bytes, which name device and time, to the whole payload.
///
/// Offsets: 16 the data's place, 20 its length; `alloc` always gives 1024, since nothing else is asked for.
const READING: &str = r#"(module
  (import "env" "ws_get_data" (func $get (param i32 i32 i32) (result i32)))
  (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 17)
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "reading") (param i32) (result i32)
    (drop (call $get (local.get 0) (i32.const 16) (i32.const 20)))
    (call $set
      (i32.load (i32.const 16)) (i32.const 35)
      (i32.load (i32.const 16)) (i32.load (i32.const 20)))))"#;

/// What a node is told of it.
const MANIFEST: &str = r#"name = "readings"
ack = "durable"
allow-tokens = true
allow-sessions = true

[[applets]]
name = "readings"
module = "readings.wasm"
routes = [{ event-type = "reading", handler = "reading" }]
"#;

/// Writes the project's folder, for `w3bstream project deploy`.
///
/// # Errors
/// If the folder cannot be written.
pub fn write(dir: &Path) -> anyhow::Result<()> {
    let program = wat::parse_str(READING)?;
    let failed = || format!("cannot write to {}", dir.display());
    std::fs::create_dir_all(dir).with_context(failed)?;
    std::fs::write(dir.join("readings.wasm"), program).with_context(failed)?;
    std::fs::write(dir.join("w3bstream.toml"), MANIFEST).with_context(failed)
}
