//! Calls without a transaction, and what a failed one says.

use std::fmt;

use w3bstream_types::Address;

/// A call that is only tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// As whom; the zero address if none.
    pub from: Option<Address>,
    /// The contract; `None` tries a creation.
    pub to: Option<Address>,
    /// Wei to send along.
    pub value: u128,
    /// Call data.
    pub data: Vec<u8>,
    /// The most gas it may use; `None` leaves it to the node.
    pub gas_limit: Option<u64>,
}

impl Call {
    /// A call of a contract with this data, from nobody and without value.
    #[must_use]
    pub const fn new(to: Address, data: Vec<u8>) -> Self {
        Self { from: None, to: Some(to), value: 0, data, gas_limit: None }
    }
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It returned these bytes.
    Returned(Vec<u8>),
    /// It failed.
    Reverted(Revert),
}

/// What trying a transaction gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Simulation {
    /// It succeeds with this gas limit, in the head's state.
    Gas(u64),
    /// It fails.
    Reverted(Revert),
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Revert {
    /// What the contract gave back; empty if it gave no reason or was stopped (out of gas, invalid instruction).
    pub data: Vec<u8>,
}

/// A revert's data, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No data.
    None,
    /// `Error(string)`: from `require` and `revert("…")`.
    Message(String),
    /// `Panic(uint256)`: the Solidity compiler's own checks; the code.
    Panic(u64),
    /// Another error: its selector and the arguments that follow.
    Custom([u8; 4], Vec<u8>),
    /// Bytes that are no Solidity error.
    Other(Vec<u8>),
}

/// The selector of `Error(string)`.
pub const ERROR_SELECTOR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// The selector of `Panic(uint256)`.
pub const PANIC_SELECTOR: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

impl Revert {
    /// A revert with this data.
    #[must_use]
    pub const fn new(data: Vec<u8>) -> Self {
        Self { data }
    }

    /// The data, decoded as Solidity encodes errors (Solidity documentation, "Error handling").
    #[must_use]
    pub fn reason(&self) -> Reason {
        let Some((selector, arguments)) = self.data.split_first_chunk::<4>() else {
            return if self.data.is_empty() { Reason::None } else { Reason::Other(self.data.clone()) };
        };
        match *selector {
            ERROR_SELECTOR => {
                text(arguments).map_or_else(|| Reason::Other(self.data.clone()), Reason::Message)
            }
            PANIC_SELECTOR => arguments
                .get(..32)
                .and_then(small)
                .map_or_else(|| Reason::Other(self.data.clone()), Reason::Panic),
            other => Reason::Custom(other, arguments.to_vec()),
        }
    }
}

/// A word's value if it fits.
fn small(word: &[u8]) -> Option<u64> {
    let (high, low) = word.split_last_chunk::<8>()?;
    high.iter().all(|b| *b == 0).then(|| u64::from_be_bytes(*low))
}

/// The one `string` of an argument list.
fn text(arguments: &[u8]) -> Option<String> {
    let at = usize::try_from(small(arguments.get(..32)?)?).ok()?;
    let tail = arguments.get(at..)?;
    let len = usize::try_from(small(tail.get(..32)?)?).ok()?;
    let bytes = tail.get(32..)?.get(..len)?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// At most this many bytes or characters of a contract's answer are shown.
const SHOWN: usize = 200;

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |bytes: &[u8]| hex::encode(bytes.get(..SHOWN).unwrap_or(bytes));
        match self.reason() {
            Reason::None => f.write_str("reverted without a reason"),
            Reason::Message(text) => {
                // A contract's text may be long and hold anything.
                let text: String = text.chars().take(SHOWN).collect();
                write!(f, "reverted: {text:?}")
            }
            Reason::Panic(code) => write!(f, "reverted: panic 0x{code:02x} ({})", panic_name(code)),
            Reason::Custom(selector, rest) => {
                write!(f, "reverted with error 0x{}{}", hex::encode(selector), short(&rest))
            }
            Reason::Other(data) => write!(f, "reverted with data 0x{}", short(&data)),
        }
    }
}

/// Solidity documentation, "Panic via assert and Error via require".
const fn panic_name(code: u64) -> &'static str {
    match code {
        0x01 => "assertion failed",
        0x11 => "arithmetic overflow",
        0x12 => "division by zero",
        0x21 => "no such enum value",
        0x22 => "badly encoded storage",
        0x31 => "pop of an empty array",
        0x32 => "index out of bounds",
        0x41 => "too much memory",
        0x51 => "call of an unset function",
        _ => "unknown",
    }
}
