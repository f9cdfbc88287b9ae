//! JSON as nodes give it (Ethereum execution APIs), as far as it is read.

use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};
use w3bstream_chain::{Block, Call, Hash, Log, LogPlace, MinedTransaction, Receipt};
use w3bstream_types::Address;

/// Bytes as `0x…`.
pub(crate) fn data(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// A number as `0x…`, in its shortest form.
pub(crate) fn quantity(n: u128) -> String {
    format!("0x{n:x}")
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number<T>(pub(crate) T);

impl<'de, T: TryFrom<u128>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let wrong = || de::Error::custom("expected 0x and a number of the right size");
        let digits = text.strip_prefix("0x").ok_or_else(wrong)?;
        let n = u128::from_str_radix(digits, 16).map_err(|_| wrong())?;
        T::try_from(n).map(Self).map_err(|_| wrong())
    }
}

/// A number of up to 256 bits; more than 128 are as many as fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amount(pub(crate) u128);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let wrong = || de::Error::custom("expected 0x and a number of up to 256 bits");
        let digits = text.strip_prefix("0x").filter(|d| !d.is_empty() && d.len() <= 64).ok_or_else(wrong)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let digits = digits.trim_start_matches('0');
        Ok(Self(match digits.len() {
            0 => 0,
            1..=32 => u128::from_str_radix(digits, 16).map_err(|_| wrong())?,
            _ => u128::MAX,
        }))
    }
}

/// A number of up to 256 bits, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uint(pub(crate) [u8; 32]);

impl<'de> Deserialize<'de> for Uint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let wrong = || de::Error::custom("expected 0x and a number of up to 256 bits");
        let digits = text.strip_prefix("0x").filter(|d| !d.is_empty() && d.len() <= 64).ok_or_else(wrong)?;
        let mut word = [0; 32];
        hex::decode_to_slice(format!("{digits:0>64}"), &mut word).map_err(|_| wrong())?;
        Ok(Self(word))
    }
}

/// Bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let digits =
            text.strip_prefix("0x").ok_or_else(|| de::Error::custom("expected 0x and hex digits"))?;
        hex::decode(digits).map(Self).map_err(|_| de::Error::custom("expected 0x and hex digits"))
    }
}

/// 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) Hash);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = Data::deserialize(d)?.0.try_into().map_err(|_| de::Error::custom("expected 32 bytes"))?;
        Ok(Self(Hash::from_bytes(bytes)))
    }
}

/// 20 bytes. Upper-case digits are a checksum to some nodes (ERC-55) and are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account(pub(crate) Address);

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = Data::deserialize(d)?.0.try_into().map_err(|_| de::Error::custom("expected 20 bytes"))?;
        Ok(Self(Address::from_bytes(bytes)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireBlock {
    number: Number<u64>,
    hash: Word,
    parent_hash: Word,
    timestamp: Number<u64>,
    receipts_root: Word,
    base_fee_per_gas: Option<Number<u128>>,
}

impl WireBlock {
    pub(crate) fn block(&self) -> Block {
        Block {
            number: self.number.0,
            hash: self.hash.0,
            parent: self.parent_hash.0,
            time: self.timestamp.0,
            base_fee: self.base_fee_per_gas.map_or(0, |fee| fee.0),
            receipts_root: self.receipts_root.0,
        }
    }
}

/// A block with whole transactions, of which little is read.
#[derive(Debug, Deserialize)]
pub(crate) struct FullBlock {
    pub(crate) transactions: Vec<WireTransaction>,
}

/// A block with the hashes of its transactions.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    pub(crate) transactions: Vec<Word>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireTransaction {
    pub(crate) hash: Word,
    pub(crate) from: Account,
    pub(crate) nonce: Number<u64>,
    pub(crate) block_hash: Option<Word>,
    pub(crate) block_number: Option<Number<u64>>,
}

/// A transaction with all that is told of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WholeTransaction {
    #[serde(flatten)]
    place: WireTransaction,
    transaction_index: Option<Number<u64>>,
    // Absent before EIP-2718.
    #[serde(rename = "type")]
    kind: Option<Number<u8>>,
    to: Option<Account>,
    value: Uint,
    gas: Number<u64>,
    gas_price: Option<Number<u128>>,
    max_fee_per_gas: Option<Number<u128>>,
    max_priority_fee_per_gas: Option<Number<u128>>,
    input: Data,
}

impl WholeTransaction {
    /// `None` while it waits in the pool.
    pub(crate) fn mined(self) -> Option<MinedTransaction> {
        Some(MinedTransaction {
            hash: self.place.hash.0,
            number: self.place.block_number?.0,
            block: self.place.block_hash?.0,
            index: self.transaction_index?.0,
            kind: self.kind.map_or(0, |k| k.0),
            from: self.place.from.0,
            to: self.to.map(|a| a.0),
            nonce: self.place.nonce.0,
            value: self.value.0,
            gas_limit: self.gas.0,
            // Nodes give the price that was paid as `gasPrice` of the newer types.
            max_fee: self.max_fee_per_gas.or(self.gas_price).map_or(0, |p| p.0),
            priority_fee: self.max_priority_fee_per_gas.map(|p| p.0),
            data: self.input.0,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireLog {
    address: Account,
    topics: Vec<Word>,
    data: Data,
    block_number: Number<u64>,
    block_hash: Word,
    transaction_hash: Word,
    log_index: Number<u64>,
    #[serde(default)]
    pub(crate) removed: bool,
}

impl WireLog {
    pub(crate) fn log(self) -> Log {
        Log {
            address: self.address.0,
            topics: self.topics.into_iter().map(|t| t.0).collect(),
            data: self.data.0,
            at: LogPlace {
                number: self.block_number.0,
                block: self.block_hash.0,
                transaction: self.transaction_hash.0,
                index: self.log_index.0,
            },
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireReceipt {
    transaction_hash: Word,
    transaction_index: Number<u64>,
    block_hash: Word,
    block_number: Number<u64>,
    gas_used: Number<u64>,
    effective_gas_price: Option<Number<u128>>,
    contract_address: Option<Account>,
    // Absent before Byzantium.
    status: Option<Number<u64>>,
    logs: Vec<WireLog>,
}

impl WireReceipt {
    pub(crate) fn receipt(self) -> Receipt {
        let success = self.status.is_none_or(|s| s.0 == 1);
        Receipt {
            transaction: self.transaction_hash.0,
            number: self.block_number.0,
            block: self.block_hash.0,
            index: self.transaction_index.0,
            success,
            gas_used: self.gas_used.0,
            effective_gas_price: self.effective_gas_price.map_or(0, |p| p.0),
            // geth names the address of a failed creation too.
            created: self.contract_address.map(|a| a.0).filter(|_| success),
            logs: self.logs.into_iter().map(WireLog::log).collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FeeHistory {
    /// One more than the blocks that were asked for: the last is of the next block.
    pub(crate) base_fee_per_gas: Vec<Number<u128>>,
}

/// A call's parameters.
pub(crate) fn call(call: &Call) -> Value {
    let mut fields = serde_json::Map::new();
    let mut put = |name: &str, value: String| fields.insert(name.into(), json!(value));
    if let Some(from) = call.from {
        put("from", from.to_string());
    }
    if let Some(to) = call.to {
        put("to", to.to_string());
    }
    if call.value > 0 {
        put("value", quantity(call.value));
    }
    if let Some(gas) = call.gas_limit {
        put("gas", quantity(gas.into()));
    }
    // Nodes of before 2023 know `data` alone, later ones both.
    put("data", data(&call.data));
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_their_bounds() {
        let read = |text: &str| serde_json::from_value::<Number<u64>>(json!(text)).map(|n| n.0).ok();
        assert_eq!(read("0x0"), Some(0));
        assert_eq!(read("0xffffffffffffffff"), Some(u64::MAX));
        for bad in ["0x10000000000000000", "0x", "12", "0x-1", "0xg", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let amount = |text: &str| serde_json::from_value::<Amount>(json!(text)).map(|n| n.0).ok();
        assert_eq!(amount("0x00ff"), Some(255));
        assert_eq!(amount(&format!("0x{}", "f".repeat(32))), Some(u128::MAX));
        assert_eq!(amount(&format!("0x{}", "f".repeat(64))), Some(u128::MAX));
        for bad in ["0x", "0xzz", "ff", &format!("0x{}", "f".repeat(65))] {
            assert_eq!(amount(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_call_leaves_away_what_it_does_not_have() {
        let to = Address::from_bytes([1; 20]);
        let plain = call(&Call::new(to, vec![0xab]));
        assert_eq!(plain, json!({"to": to.to_string(), "data": "0xab"}));
        let full = Call { from: Some(to), to: None, value: 16, data: vec![], gas_limit: Some(255) };
        assert_eq!(
            call(&full),
            json!({"from": to.to_string(), "value": "0x10", "gas": "0xff", "data": "0x"})
        );
    }
}
