//! The contract that the kit creates, as EVM code and as a function in Rust with the same behaviour.
//!
//! ```solidity
//! contract Fixture {
//!     uint256 value;
//!     event Set(address indexed by, uint256 value);
//!     function set(uint256 v) external { value = v; emit Set(msg.sender, v); }
//!     function get() external view returns (uint256) { return value; }
//!     // Any other selector reverts with the call data after the selector.
//! }
//! ```

use std::sync::Arc;

use w3bstream_types::keccak256;

use crate::memory::{Effect, Env, MemoryChain, Storage};
use crate::{Hash, Revert};

const SET: [u8; 4] = [0x60, 0xfe, 0x47, 0xb1];
const GET: [u8; 4] = [0x6d, 0x4c, 0xe6, 0x3c];
/// No function has it, so the call reverts with what follows.
const FAIL: [u8; 4] = [0xfa, 0x11, 0xfa, 0x11];

/// The first topic of `Set(address,uint256)`.
#[must_use]
pub fn set_topic() -> Hash {
    Hash::of(b"Set(address,uint256)")
}

/// A number as a word.
#[must_use]
pub fn word(n: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word.split_at_mut(24).1.copy_from_slice(&n.to_be_bytes());
    word
}

/// Call data of `set(n)`.
#[must_use]
pub fn set(n: u64) -> Vec<u8> {
    [&SET[..], &word(n)].concat()
}

/// Call data of `get()`.
#[must_use]
pub fn get() -> Vec<u8> {
    GET.to_vec()
}

/// Call data of a call that reverts with `data`.
#[must_use]
pub fn fail(data: &[u8]) -> Vec<u8> {
    [&FAIL[..], data].concat()
}

/// `Error(string)` as Solidity encodes it.
#[must_use]
pub fn error_string(text: &str) -> Vec<u8> {
    let mut data =
        [&crate::ERROR_SELECTOR[..], &word(32), &word(text.len() as u64), text.as_bytes()].concat();
    data.resize(4 + 64 + text.len().div_ceil(32) * 32, 0);
    data
}

/// `Panic(uint256)` as Solidity encodes it.
#[must_use]
pub fn panic(code: u64) -> Vec<u8> {
    [&crate::PANIC_SELECTOR[..], &word(code)].concat()
}

/// What creates the contract.
#[must_use]
pub fn init_code() -> Vec<u8> {
    let runtime = runtime();
    // PUSH2 length, DUP1, PUSH1 12, PUSH1 0, CODECOPY, PUSH1 0, RETURN: 12 bytes before the contract's own.
    let [high, low] = (runtime.len() as u16).to_be_bytes();
    let mut code = vec![0x61, high, low, 0x80, 0x60, 0x0c, 0x60, 0x00, 0x39, 0x60, 0x00, 0xf3];
    code.extend(runtime);
    code
}

fn runtime() -> Vec<u8> {
    // The selector: PUSH1 0, CALLDATALOAD, PUSH1 224, SHR.
    let mut code = vec![0x60, 0x00, 0x35, 0x60, 0xe0, 0x1c];
    // For each function: DUP1, PUSH4 selector, EQ, PUSH1 target, JUMPI.
    let failing = [
        // size − 4 bytes of call data to memory: PUSH1 4, CALLDATASIZE, SUB, DUP1, PUSH1 4, PUSH1 0, CALLDATACOPY.
        0x60, 0x04, 0x36, 0x03, 0x80, 0x60, 0x04, 0x60, 0x00, 0x37, // PUSH1 0, REVERT.
        0x60, 0x00, 0xfd,
    ];
    let mut setting = vec![
        // JUMPDEST; the argument to slot 0 and to memory: PUSH1 4, CALLDATALOAD, DUP1, PUSH1 0, SSTORE.
        0x5b, 0x60, 0x04, 0x35, 0x80, 0x60, 0x00, 0x55, // PUSH1 0, MSTORE, CALLER, PUSH32 topic.
        0x60, 0x00, 0x52, 0x33, 0x7f,
    ];
    setting.extend(set_topic().as_bytes());
    // PUSH1 32, PUSH1 0, LOG2, STOP.
    setting.extend([0x60, 0x20, 0x60, 0x00, 0xa2, 0x00]);
    // JUMPDEST, PUSH1 0, SLOAD, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN.
    let getting = [0x5b, 0x60, 0x00, 0x54, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3];
    let set_at = code.len() + 2 * 10 + failing.len();
    for (selector, at) in [(SET, set_at), (GET, set_at + setting.len())] {
        code.extend([0x80, 0x63]);
        code.extend(selector);
        code.extend([0x14, 0x60, at as u8, 0x57]);
    }
    code.extend(failing);
    code.extend(setting);
    code.extend(getting);
    code
}

/// Makes the contract known to a chain in memory.
pub fn install(chain: &MemoryChain) {
    chain.install(init_code(), Arc::new(native));
}

fn native(env: &Env<'_>, storage: &mut Storage) -> Result<Effect, Revert> {
    let (selector, arguments) = env.data.split_at_checked(4).ok_or_else(Revert::default)?;
    if selector == GET {
        let value = storage.get(&[0; 32]).copied().unwrap_or_default();
        return Ok(Effect { output: value.to_vec(), logs: vec![] });
    }
    if selector != SET {
        return Err(Revert::new(arguments.to_vec()));
    }
    let mut value = [0; 32];
    let given = arguments.get(..32).unwrap_or(arguments);
    value.iter_mut().zip(given).for_each(|(to, from)| *to = *from);
    storage.insert([0; 32], value);
    let mut by = [0; 32];
    by.split_at_mut(12).1.copy_from_slice(env.caller.as_bytes());
    let topics = vec![Hash::from_bytes(keccak256(b"Set(address,uint256)")), Hash::from_bytes(by)];
    Ok(Effect { output: vec![], logs: vec![(topics, value.to_vec())] })
}
