//! Measurements against named rivals, each printed with its rival in the same run.
//!
//! | What | Rival | How |
//! | --- | --- | --- |
//! | [`handler`]: a handler's call with gas, in a fresh instance | wasmer alone, same compiler, no metering | `cargo run --release -p w3bstream-benches -- handler` |
//! | the same | wasmtime alone with its pools; one instance of it, reused | the same |
//! | the same on wasmer in a worker process | in this process | the same |
//! | [`engines`]: host call, warm start, cached load, runaways, the instrumentation pass | limits; the same module as it was written | the same |
//! | [`parallel`]: a block's execution on more threads | the same on one | `cargo run --release -p w3bstream-benches -- parallel` |
//! | a batch's append, durable | SQLite alone, same batches, bytes and fsyncs | `cargo run --release -p w3bstream-storage-sqlite --example append` |
//! | ingest over MQTT | Mosquitto | `scripts/bench-endpoints` |
//! | ingest over HTTP and gRPC | [`bare`]: axum and tonic alone | `scripts/bench-endpoints` |
//! | MQTT to handler to database ([`readings`]) | Node-RED with Mosquitto and SQLite | `scripts/bench-node-red` |
//!
//! Times depend on the machine and on what else it does; only the ratio of one run says something. No test
//! asserts a time: tests see to it that both sides do the same work.

pub mod bare;
pub mod engines;
pub mod handler;
pub mod parallel;
pub mod readings;
