//! What an applet gets: the JSON that nodes of a chain give (Ethereum execution APIs), which is also what the original
//! W3bstream's monitors and schedules gave.

use serde::Serialize;
use w3bstream_chain::{Log, MinedTransaction};

fn bytes(data: &[u8]) -> String {
    format!("0x{}", hex::encode(data))
}

fn quantity(n: u128) -> String {
    format!("0x{n:x}")
}

/// A number of 256 bits in its shortest form.
fn big_quantity(word: &[u8; 32]) -> String {
    let digits = hex::encode(word);
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

/// JSON of plain values cannot fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogJson {
    address: String,
    topics: Vec<String>,
    data: String,
    block_number: String,
    transaction_hash: String,
    transaction_index: String,
    block_hash: String,
    log_index: String,
    removed: bool,
}

/// A log, as `eth_getLogs` gives it.
pub(super) fn log(log: &Log, transaction_index: u64) -> Vec<u8> {
    json(&LogJson {
        address: log.address.to_string(),
        topics: log.topics.iter().map(ToString::to_string).collect(),
        data: bytes(&log.data),
        block_number: quantity(log.at.number.into()),
        transaction_hash: log.at.transaction.to_string(),
        transaction_index: quantity(transaction_index.into()),
        block_hash: log.at.block.to_string(),
        log_index: quantity(log.at.index.into()),
        removed: false,
    })
}

/// The same log, taken back. `None` if the payload is no log's.
pub(super) fn removed(payload: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(payload).ok()?;
    let start = text.strip_suffix("\"removed\":false}")?;
    Some(format!("{start}\"removed\":true}}").into_bytes())
}

#[derive(Serialize)]
struct HeightJson {
    #[serde(rename = "HeaderNumber")]
    header_number: u64,
}

/// A height.
pub(super) fn height(number: u64) -> Vec<u8> {
    json(&HeightJson { header_number: number })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TransactionJson {
    r#type: String,
    hash: String,
    from: String,
    to: Option<String>,
    nonce: String,
    value: String,
    gas: String,
    gas_price: Option<String>,
    max_fee_per_gas: Option<String>,
    max_priority_fee_per_gas: Option<String>,
    input: String,
    block_number: String,
    block_hash: String,
    transaction_index: String,
}

/// A transaction, as `eth_getTransactionByHash` gives it.
pub(super) fn transaction(t: &MinedTransaction) -> Vec<u8> {
    let dynamic = t.priority_fee.is_some();
    let price = Some(quantity(t.max_fee));
    json(&TransactionJson {
        r#type: quantity(t.kind.into()),
        hash: t.hash.to_string(),
        from: t.from.to_string(),
        to: t.to.map(|a| a.to_string()),
        nonce: quantity(t.nonce.into()),
        value: big_quantity(&t.value),
        gas: quantity(t.gas_limit.into()),
        gas_price: price.clone().filter(|_| !dynamic),
        max_fee_per_gas: price.filter(|_| dynamic),
        max_priority_fee_per_gas: t.priority_fee.map(quantity),
        input: bytes(&t.data),
        block_number: quantity(t.number.into()),
        block_hash: t.block.to_string(),
        transaction_index: quantity(t.index.into()),
    })
}

#[derive(Serialize)]
struct MomentJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "Timestamp")]
    timestamp: u64,
}

/// A moment of a schedule, in milliseconds.
pub(super) fn moment(id: &str, timestamp: u64) -> Vec<u8> {
    json(&MomentJson { id, timestamp })
}

#[cfg(test)]
mod tests {
    use w3bstream_chain::{Hash, LogPlace};
    use w3bstream_types::Address;

    use super::*;

    #[test]
    fn a_log_is_as_a_node_gives_it_and_can_be_taken_back() {
        let given = Log {
            address: Address::from_bytes([1; 20]),
            topics: vec![Hash::from_bytes([2; 32])],
            data: vec![0xff],
            at: LogPlace {
                number: 16,
                block: Hash::from_bytes([3; 32]),
                transaction: Hash::from_bytes([4; 32]),
                index: 0,
            },
        };
        let payload = log(&given, 5);
        let text = String::from_utf8(payload.clone()).unwrap();
        let word = |n: &str| n.repeat(32);
        assert_eq!(
            text,
            format!(
                r#"{{"address":"0x{}","topics":["0x{}"],"data":"0xff","blockNumber":"0x10","transactionHash":"0x{}","transactionIndex":"0x5","blockHash":"0x{}","logIndex":"0x0","removed":false}}"#,
                "01".repeat(20),
                word("02"),
                word("04"),
                word("03")
            )
        );
        let back = removed(&payload).unwrap();
        assert_eq!(String::from_utf8(back.clone()).unwrap(), text.replace("false", "true"));
        assert_eq!(removed(&back), None);
        assert_eq!(removed(b"{}"), None);
    }

    #[test]
    fn numbers_are_in_their_shortest_form() {
        let mut word = [0; 32];
        assert_eq!(big_quantity(&word), "0x0");
        word[30] = 1;
        assert_eq!(big_quantity(&word), "0x100");
        assert_eq!(big_quantity(&[0xff; 32]), format!("0x{}", "f".repeat(64)));
        assert_eq!(height(7), br#"{"HeaderNumber":7}"#);
        assert_eq!(moment("hourly:5", 5), br#"{"ID":"hourly:5","Timestamp":5}"#);
    }
}
