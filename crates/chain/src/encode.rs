//! Blooms and receipts as Ethereum hashes them, for backends that make blocks of their own and for readers of proofs.

use w3bstream_types::{Address, Malformed, keccak256};

pub use crate::rlp::Rlp;
use crate::rlp::{self, Item};
use crate::{Hash, Log};

/// The bloom filter of a block's or a receipt's logs (Yellow Paper §4.4.1): three of 2048 bits for each address and
/// topic.
#[must_use]
pub fn bloom<'l>(logs: impl Iterator<Item = &'l Log>) -> [u8; 256] {
    let mut bits = [0; 256];
    let mut add = |bytes: &[u8]| {
        let hash = keccak256(bytes);
        for pair in hash.chunks_exact(2).take(3) {
            let bit = pair.iter().fold(0usize, |n, b| (n << 8) | usize::from(*b)) % 2048;
            if let Some(byte) = bits.get_mut(255 - bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    };
    for log in logs {
        add(log.address.as_bytes());
        log.topics.iter().for_each(|t| add(t.as_bytes()));
    }
    bits
}

/// A receipt of a type-2 transaction, as the receipts' trie holds it (EIP-2718).
#[must_use]
pub fn receipt(success: bool, cumulative_gas: u64, logs: &[Log]) -> Vec<u8> {
    let mut list = Rlp::new();
    for log in logs {
        let topics = log.topics.iter().fold(Rlp::new(), |list, t| list.bytes(t.as_bytes()));
        list = list.list(&Rlp::new().bytes(log.address.as_bytes()).list(&topics).bytes(&log.data));
    }
    let fields = Rlp::new()
        .uint(success.into())
        .uint(cumulative_gas.into())
        .bytes(&bloom(logs.iter()))
        .list(&list)
        .into_list();
    [&[2][..], &fields].concat()
}

/// What a transaction's receipt says, as the receipts' trie holds it. It knows no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedReceipt {
    /// Whether the transaction took effect.
    pub success: bool,
    /// Its events, in order.
    pub logs: Vec<MinedLog>,
}

/// An event in a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedLog {
    /// The contract.
    pub address: Address,
    /// Its topics.
    pub topics: Vec<Hash>,
    /// Its data.
    pub data: Vec<u8>,
}

/// Reads a receipt of any type (EIP-2718). Gas and bloom are not looked at.
///
/// # Errors
/// [`Malformed`] if it is none, or one from before status codes (EIP-658).
pub fn decode_receipt(raw: &[u8]) -> Result<MinedReceipt, Malformed> {
    let bad = |why: &'static str| Malformed::new("receipt", why);
    // A type is one byte below those that begin a list.
    let mut rest = match raw.split_first() {
        Some((1..=0x7f, rest)) => rest,
        _ => raw,
    };
    let fields = match rlp::take(&mut rest)? {
        Item::List(body) if rest.is_empty() => rlp::items(body)?,
        _ => return Err(bad("is no list")),
    };
    let [Item::Bytes(status), Item::Bytes(_gas), Item::Bytes(_bloom), Item::List(logs)] = fields.as_slice()
    else {
        return Err(bad("has other fields than a receipt"));
    };
    let success = match status {
        [] => false,
        [1] => true,
        _ => return Err(bad("has no status")),
    };
    Ok(MinedReceipt {
        success,
        logs: rlp::items(logs)?.into_iter().map(decode_log).collect::<Result<_, _>>()?,
    })
}

fn decode_log(log: Item<'_>) -> Result<MinedLog, Malformed> {
    let bad = || Malformed::new("receipt", "has a log that is none");
    let Item::List(body) = log else { return Err(bad()) };
    let fields = rlp::items(body)?;
    let [Item::Bytes(address), Item::List(topics), Item::Bytes(data)] = fields.as_slice() else {
        return Err(bad());
    };
    let topic = |item| match item {
        Item::Bytes(bytes) => bytes.try_into().map(Hash::from_bytes).map_err(|_| bad()),
        Item::List(_) => Err(bad()),
    };
    Ok(MinedLog {
        address: Address::from_bytes((*address).try_into().map_err(|_| bad())?),
        topics: rlp::items(topics)?.into_iter().map(topic).collect::<Result<_, _>>()?,
        data: data.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogPlace;

    fn log(n: u8) -> Log {
        let at = LogPlace { number: 0, block: Hash::ZERO, transaction: Hash::ZERO, index: 0 };
        let topics = (0..n % 5).map(|t| Hash::of(&[n, t])).collect();
        Log { address: Address::from_bytes([n; 20]), topics, data: vec![n; n.into()], at }
    }

    #[test]
    fn receipts_are_read_as_they_were_written() {
        for (success, count) in [(true, 0), (false, 0), (true, 1), (true, 30)] {
            let logs: Vec<Log> = (0..count).map(log).collect();
            let raw = receipt(success, 70_000, &logs);
            let read = decode_receipt(&raw).unwrap();
            assert_eq!(read.success, success);
            let same =
                |l: &Log| MinedLog { address: l.address, topics: l.topics.clone(), data: l.data.clone() };
            assert_eq!(read.logs, logs.iter().map(same).collect::<Vec<_>>());
            // A legacy receipt has no type byte.
            assert_eq!(decode_receipt(&raw[1..]).unwrap(), read);
        }
    }

    #[test]
    fn what_is_no_receipt_is_refused() {
        let good = receipt(true, 70_000, &[log(3)]);
        for cut in 0..good.len() {
            assert!(decode_receipt(&good[..cut]).is_err(), "{cut}");
        }
        assert!(decode_receipt(&[&good[..], &[0]].concat()).is_err());
        let bloom = [0; 256];
        let before_status = Rlp::new().bytes(&[7; 32]).uint(1).bytes(&bloom).list(&Rlp::new()).into_list();
        assert!(decode_receipt(&before_status).is_err());
    }
}
