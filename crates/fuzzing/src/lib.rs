//! What must hold for any bytes: one function for each parser of what comes from outside.
//!
//! **Takes** bytes; **gives** nothing, or panics because a promise was broken: that what is read can be written and is
//! then the same, that there is no second form where the format has one, that two readers of the same agree, that memory
//! stays in proportion to what was sent.
//!
//! The same functions run in two ways: over seeds, regressions and a number of mutations in the tests of this crate, and
//! for as long as one likes in `fuzz/`, under libFuzzer. docs/fuzzing.md has the commands and what is left out.
//!
//! # Invariants
//! - A target has no state, asks no clock and draws no random numbers: the same bytes give the same end.
//! - Private parsers are reached through a module `fuzzing` of their crate, behind its feature of that name, which
//!   nothing but this crate asks for.
//! - No node links this crate: it brings an allocator that counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests calls this"
)]

mod chain;
#[cfg(feature = "engines")]
mod engines;
mod guests;
mod memory;
mod messages;
mod stored;
mod values;

use std::cell::RefCell;

/// A parser, and what must hold for any bytes that it is given.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the folder of its seeds, and of its binary in `fuzz/`.
    pub name: &'static str,
    run: fn(&[u8]),
    /// Bytes of memory that it may take whatever it is given, in KiB.
    fixed_kib: usize,
    /// Bytes of memory for each byte that it is given.
    factor: usize,
    /// Longer inputs are not worth their time.
    most: usize,
    /// How many mutations of its seeds a test runs.
    pub mutations: usize,
}

impl Target {
    /// A target with the usual bounds.
    #[must_use]
    pub const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run, fixed_kib: 256, factor: 64, most: 64 << 10, mutations: 2000 }
    }

    /// With another bound of memory.
    const fn memory(mut self, fixed_kib: usize, factor: usize) -> Self {
        (self.fixed_kib, self.factor) = (fixed_kib, factor);
        self
    }

    /// With fewer mutations in a test, since each takes its time.
    const fn slow(mut self, mutations: usize) -> Self {
        self.mutations = mutations;
        self
    }

    /// Runs it.
    ///
    /// # Panics
    /// If the parser breaks a promise, or takes more memory than it may.
    pub fn check(&self, bytes: &[u8]) {
        let bytes = bytes.get(..self.most).unwrap_or(bytes);
        let taken = memory::most(|| (self.run)(bytes));
        let allowed = (self.fixed_kib << 10) + self.factor * bytes.len();
        assert!(
            taken <= allowed,
            "{}: took {taken} bytes of memory for {} bytes of input, it may take {allowed}",
            self.name,
            bytes.len()
        );
    }
}

/// The target of a name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name:?}"))
}

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what a panic says instead of printing it: some libraries' decoders panic, and those who call them catch it.
/// For fuzzers, whose own hook would end the process there.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| LAST.with_borrow_mut(|last| *last = info.to_string())));
}

/// Runs a target as a fuzzer does: what is broken is said, and ends the process.
#[allow(clippy::print_stderr, reason = "a fuzzer reports to people")]
pub fn fuzz(name: &str, bytes: &[u8]) {
    if std::panic::catch_unwind(|| target(name).check(bytes)).is_err() {
        eprintln!("{name}: {}", LAST.take());
        std::process::abort();
    }
}

/// All targets.
pub static TARGETS: &[Target] = &[
    Target::new("canonical", values::canonical),
    Target::new("receipt_json", values::receipt_json).memory(1024, 64).slow(500),
    Target::new("texts", values::texts),
    Target::new("did", values::did),
    Target::new("jws", messages::jws),
    Target::new("session", messages::session),
    Target::new("envelope", messages::envelope),
    Target::new("legacy_message", messages::legacy),
    Target::new("mqtt_topic", w3bstream_endpoint_mqtt::fuzzing::topics),
    Target::new("mqtt_packet", w3bstream_endpoint_mqtt::fuzzing::packets),
    Target::new("mqtt_connect", w3bstream_endpoint_mqtt::fuzzing::connect),
    Target::new("mqtt_connection", w3bstream_endpoint_mqtt::fuzzing::connection).memory(1024, 512).slow(1000),
    Target::new("mqtt_kept", w3bstream_endpoint_mqtt::fuzzing::kept),
    Target::new("websocket", w3bstream_endpoint_mqtt::fuzzing::websocket),
    Target::new("broker_packet", w3bstream_endpoint_brokers::fuzzing::packets),
    Target::new("coap_message", w3bstream_endpoint_coap::fuzzing::message),
    Target::new("coap_exchange", w3bstream_endpoint_coap::fuzzing::exchange).memory(1024, 64),
    Target::new("http_line", w3bstream_endpoint_http::fuzzing::line),
    // A decoder of zstd has its window.
    Target::new("http_batch", w3bstream_endpoint_http::fuzzing::batch).memory(4096, 1100).slow(1000),
    Target::new("http_coding", w3bstream_endpoint_http::fuzzing::coding).memory(4096, 1100),
    Target::new("http_head", w3bstream_endpoint_http::fuzzing::head),
    Target::new("grpc_message", w3bstream_endpoint_grpc::fuzzing::message),
    Target::new("grpc_framing", w3bstream_endpoint_grpc::fuzzing::framing),
    Target::new("legacy_body", w3bstream_endpoint_legacy::fuzzing::body),
    Target::new("legacy_upload", w3bstream_endpoint_legacy::fuzzing::upload),
    Target::new("tls_files", w3bstream_tls::fuzzing::files),
    Target::new("tls_peer", w3bstream_tls::fuzzing::peer),
    Target::new("consensus_log", stored::consensus_log),
    Target::new("state_node", w3bstream_vfs::fuzzing::node),
    Target::new("key_file", w3bstream_wallet_file::fuzzing::files),
    Target::new("rlp", chain::rlp),
    Target::new("chain_transaction", chain::transaction),
    Target::new("chain_block", chain::block).slow(500),
    Target::new("chain_answer", w3bstream_chain_evm::fuzzing::answer),
    Target::new("contract_event", chain::event),
    Target::new("proof", chain::proof),
    Target::new("signals", chain::signals),
    Target::new("program", guests::program).memory(2048, 256).slow(500),
    Target::new("guest_json", guests::json),
    Target::new("worker_frame", w3bstream_engine_worker::fuzzing::frame).memory(1024, 256),
    #[cfg(feature = "engines")]
    Target::new("node_settings", engines::settings).memory(1024, 128),
    #[cfg(feature = "engines")]
    Target::new("project_manifest", engines::manifest).memory(1024, 128),
    #[cfg(feature = "engines")]
    Target::new("json_rpc", engines::rpc).memory(1024, 128),
    #[cfg(feature = "engines")]
    Target::new("proving_key", engines::proving_key),
    #[cfg(feature = "engines")]
    Target::new("witness_program", engines::witness_program).memory(65_536, 4096).slow(20),
];
