//! What nodes mean by their errors. JSON-RPC has few codes and nodes use them differently, so most of it is in words;
//! those are of geth, Nethermind, Besu, Erigon, Reth and anvil.

use serde::Deserialize;
use serde_json::Value;
use w3bstream_chain::{Error, ErrorKind, Revert};

/// The error of a JSON-RPC answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Remote {
    #[serde(default)]
    pub(crate) code: i64,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) data: Value,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    Read,
    /// A state at a block, or a block's content.
    AtBlock,
    Logs,
    Simulate,
    Submit,
}

/// At most this much of a node's words is kept.
const MAX_WORDS: usize = 300;

const METHOD_NOT_FOUND: i64 = -32601;
/// EIP-1474: the method exists, and not here.
const METHOD_NOT_SUPPORTED: i64 = -32004;
const LIMIT_EXCEEDED: i64 = -32005;
const EXECUTION_REVERTED: i64 = 3;

const KNOWN: &[&str] = &[
    "already known",
    "already imported",
    "known transaction",
    "already in mempool",
    "alreadyknown",
    "already exists",
];

const OVERLOAD: &[&str] =
    &["rate limit", "too many requests", "request limit", "over capacity", "exceeded the quota"];

const UNKNOWN_BLOCK: &[&str] = &[
    "header not found",
    "header for hash not found",
    "block not found",
    "unknown block",
    "not currently canonical",
    "hash is not canonical",
    "blockoutofrange",
    "missing trie node",
    "state is not available",
    "state not available",
    "historical state",
    "pruned",
    "world state unavailable",
    "cannot find block",
    "invalid block tag",
    "blockhash cannot be found",
    "resource not found",
];

const TOO_MANY_LOGS: &[&str] = &[
    "query returned more than",
    "block range",
    "range is too large",
    "range too large",
    "too many results",
    "too many logs",
    "max results",
    "response size",
    "limited to",
    "query timeout",
];

/// In the order in which they are looked for: an underpriced replacement is also underpriced.
const SUBMISSIONS: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::ReplacementUnderpriced,
        &[
            "replacement transaction underpriced",
            "could not replace",
            "replacement underpriced",
            "replacementnotallowed",
        ],
    ),
    (
        ErrorKind::NonceTooLow,
        &["nonce too low", "nonce is too low", "oldnonce", "nonce has already been used"],
    ),
    (
        ErrorKind::NonceTooHigh,
        &["nonce too high", "nonce gap", "noncegap", "nonce is too high", "too far in the future"],
    ),
    (
        ErrorKind::InsufficientFunds,
        &[
            "insufficient funds",
            "insufficient balance",
            "upfront cost exceeds",
            "insufficientfunds",
            "enough funds",
        ],
    ),
    (
        ErrorKind::Rejected,
        &[
            "intrinsic gas",
            "exceeds block gas limit",
            "gas limit too high",
            "gas limit is too high",
            "gas limit reached",
            "intrinsicgas",
            "invalid chain id",
            "invalid chainid",
            "transaction requires at least",
            "wrong chain",
            "chain id mismatch",
            "invalid sender",
            "invalid signature",
            "oversized data",
            "initcode",
            "exceeds the configured cap",
            "transaction type not supported",
            "priority fee per gas higher than max fee",
            "out of gas",
            "rlp",
        ],
    ),
    (
        ErrorKind::FeeTooLow,
        &[
            "underpriced",
            "less than block base fee",
            "fee too low",
            "feetoolow",
            "gas price too low",
            "below the minimum",
            "minimum needed",
            "tip cap",
            "max fee per gas less than",
        ],
    ),
];

fn says(words: &str, any: &[&str]) -> bool {
    any.iter().any(|w| words.contains(w))
}

impl Remote {
    fn words(&self) -> String {
        self.message.to_ascii_lowercase()
    }

    /// Whether the node asks to come back later.
    pub(crate) fn is_overload(&self) -> bool {
        self.code == 429 || says(&self.words(), OVERLOAD)
    }

    /// Whether a submission is there already.
    pub(crate) fn is_known(&self) -> bool {
        says(&self.words(), KNOWN)
    }

    /// Whether the call itself failed, and what the contract gave back.
    pub(crate) fn revert(&self) -> Option<Revert> {
        let words = self.words();
        let failed = [
            "revert",
            "invalid opcode",
            "out of gas",
            "gas required exceeds",
            "stack underflow",
            "invalid jump",
        ];
        if self.code != EXECUTION_REVERTED && !says(&words, &failed) {
            return None;
        }
        Some(Revert::new(self.revert_data().unwrap_or_default()))
    }

    /// The contract's bytes: the data itself, or `data` or `result` of an object; some put a word before them.
    fn revert_data(&self) -> Option<Vec<u8>> {
        let text = match &self.data {
            Value::String(text) => text.as_str(),
            Value::Object(fields) => {
                ["data", "result"].iter().find_map(|name| fields.get(*name)?.as_str())?
            }
            _ => return None,
        };
        let digits = text.split_once("0x").map_or(text, |(_, digits)| digits);
        hex::decode(digits).ok()
    }
}

/// The error that a refusal is.
pub(crate) fn classify(remote: &Remote, context: Context, what: &str) -> Error {
    let words = remote.words();
    let unsupported = [METHOD_NOT_FOUND, METHOD_NOT_SUPPORTED].contains(&remote.code);
    let kind = if unsupported || words.contains("method not supported") {
        ErrorKind::Unsupported
    } else if context == Context::Submit {
        let found = SUBMISSIONS.iter().find(|(_, any)| says(&words, any));
        found.map_or(ErrorKind::Unavailable, |(kind, _)| *kind)
    } else if context == Context::Logs && (remote.code == LIMIT_EXCEEDED || says(&words, TOO_MANY_LOGS)) {
        ErrorKind::TooLarge
    } else if says(&words, UNKNOWN_BLOCK) {
        ErrorKind::UnknownBlock
    } else if context == Context::Simulate && words.contains("insufficient") {
        ErrorKind::InsufficientFunds
    } else {
        ErrorKind::Unavailable
    };
    let shown: String = remote.message.chars().take(MAX_WORDS).collect();
    Error::new(kind, format!("{what}: {shown:?} (code {})", remote.code))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn remote(code: i64, message: &str, data: Value) -> Remote {
        Remote { code, message: message.into(), data }
    }

    fn kind(context: Context, message: &str) -> ErrorKind {
        classify(&remote(-32000, message, Value::Null), context, "test").kind()
    }

    #[test]
    fn submissions_are_told_apart_as_nodes_say_it() {
        for (message, expected) in [
            ("nonce too low: next nonce 5, tx nonce 3", ErrorKind::NonceTooLow),
            (
                "Sender doesn't have enough funds to send tx. The max upfront cost is: 1",
                ErrorKind::InsufficientFunds,
            ),
            (
                "Trying to send a raw transaction with an invalid chainId. The expected chainId is 1",
                ErrorKind::Rejected,
            ),
            ("replacement transaction underpriced", ErrorKind::ReplacementUnderpriced),
            ("transaction underpriced: gas tip cap 0, minimum needed 1", ErrorKind::FeeTooLow),
            ("max fee per gas less than block base fee: address 0x.., maxFeePerGas: 1", ErrorKind::FeeTooLow),
            ("insufficient funds for gas * price + value: balance 0", ErrorKind::InsufficientFunds),
            ("Insufficient funds for gas * price + value", ErrorKind::InsufficientFunds),
            ("intrinsic gas too low: gas 20999, minimum needed 21000", ErrorKind::Rejected),
            ("exceeds block gas limit", ErrorKind::Rejected),
            ("Transaction requires at least 21000 gas but got 20999", ErrorKind::Rejected),
            ("invalid sender: invalid chain id for signer: have 1 want 2", ErrorKind::Rejected),
            ("tx fee (1.05 ether) exceeds the configured cap (1.00 ether)", ErrorKind::Rejected),
            ("nonce too high", ErrorKind::NonceTooHigh),
            ("txpool is full", ErrorKind::Unavailable),
            ("something new", ErrorKind::Unavailable),
        ] {
            assert_eq!(kind(Context::Submit, message), expected, "{message}");
        }
        for message in [
            "already known",
            "transaction already imported",
            "Known transaction",
            "ALREADY_EXISTS: already known",
        ] {
            assert!(remote(-32000, message, Value::Null).is_known(), "{message}");
        }
        assert!(!remote(-32000, "unknown account", Value::Null).is_known());
    }

    #[test]
    fn reads_are_told_apart() {
        for (context, message, expected) in [
            (Context::AtBlock, "header for hash not found", ErrorKind::UnknownBlock),
            (Context::AtBlock, "hash 0xaa is not currently canonical", ErrorKind::UnknownBlock),
            (Context::AtBlock, "missing trie node 5d (path )", ErrorKind::UnknownBlock),
            (Context::Logs, "query returned more than 10000 results", ErrorKind::TooLarge),
            (Context::Logs, "exceed maximum block range: 5000", ErrorKind::TooLarge),
            (Context::Simulate, "insufficient funds for transfer", ErrorKind::InsufficientFunds),
            (Context::Read, "internal error", ErrorKind::Unavailable),
        ] {
            assert_eq!(kind(context, message), expected, "{message}");
        }
        let absent = remote(-32601, "the method debug_getRawReceipts does not exist", Value::Null);
        assert_eq!(classify(&absent, Context::AtBlock, "test").kind(), ErrorKind::Unsupported);
        assert!(remote(429, "", Value::Null).is_overload());
        assert!(remote(-32005, "daily request limit exceeded", Value::Null).is_overload());
    }

    #[test]
    fn the_bytes_of_a_revert_are_found_wherever_a_node_puts_them() {
        for (code, message, data, expected) in [
            (3, "execution reverted: no", json!("0x08c379a0"), Some(vec![0x08, 0xc3, 0x79, 0xa0])),
            (-32015, "VM execution error: reverted", json!("Reverted 0x01"), Some(vec![1])),
            (-32603, "Error: VM Exception: reverted", json!({"data": "0x02"}), Some(vec![2])),
            (-32000, "execution reverted", Value::Null, Some(vec![])),
            (-32000, "out of gas", Value::Null, Some(vec![])),
            (-32000, "header not found", Value::Null, None),
        ] {
            let found = remote(code, message, data).revert().map(|r| r.data);
            assert_eq!(found, expected, "{message}");
        }
    }

    #[test]
    fn long_words_are_cut() {
        let e = classify(&remote(1, &"ä".repeat(10_000), Value::Null), Context::Read, "test");
        assert!(e.to_string().len() < 1000);
    }
}
