//! What host functions cost, in gas. Part of what a subnet agrees on: a change is a new
//! [`crate::ABI_VERSION`].

/// Each call of a host function.
pub const HOST_CALL: u64 = 200;
/// Reading a key of the project's state, beside its bytes.
pub const KV_GET: u64 = 5_000;
/// Writing a key, beside its bytes.
pub const KV_SET: u64 = 5_000;
/// Each byte of a key or value that is written: every member stores it.
pub const KV_SET_BYTE: u64 = 4;
/// Each output, beside its bytes.
pub const OUTPUT: u64 = 5_000;
/// Each byte of an output.
pub const OUTPUT_BYTE: u64 = 4;
/// A statement of SQL, beside its bytes and its work: it is parsed and planned each time.
pub const SQL_STATEMENT: u64 = 20_000;
/// Each byte of a statement and its parameters.
pub const SQL_STATEMENT_BYTE: u64 = 20;
/// A step of the virtual machine in which SQLite runs a statement.
pub const SQL_STEP: u64 = 50;
/// A row that a statement makes or removes, beside its bytes at [`KV_SET_BYTE`] each; a changed row is both.
pub const SQL_ROW: u64 = 5_000;
/// Reading a contract, beside the bytes: the batch runs twice for it, and every member keeps the answer.
pub const CONTRACT_CALL: u64 = 100_000;
/// A transaction to send, beside its bytes as an output.
pub const TRANSACTION: u64 = 50_000;
/// Each byte that becomes a random number, a seed or a check of JSON.
pub const COMPUTE_BYTE: u64 = 8;
/// Bytes per unit of gas where they are only copied.
pub const BYTES_PER_GAS: u64 = 4;

/// Copying so many bytes between guest and host.
#[must_use]
pub const fn copy(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_GAS)
}
