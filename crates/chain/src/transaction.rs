//! A transaction with its own fee (type 2, EIP-1559), its signing hash and its signed form.

use std::fmt;

use w3bstream_types::{Address, Invalid, Malformed};

use crate::rlp::{self, Item, Rlp};
use crate::{Hash, MinedTransaction};

/// EIP-2718's type byte of an EIP-1559 transaction.
const TYPE: u8 = 2;

/// A transaction of type 2 (EIP-1559) with an empty access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The chain it is valid on (EIP-155).
    pub chain_id: u64,
    /// The sender's transaction counter.
    pub nonce: u64,
    /// The most that one unit of gas pays to the block's producer, in wei.
    pub priority_fee: u128,
    /// The most that one unit of gas pays altogether, in wei; at least `priority_fee`.
    pub max_fee: u128,
    /// The most gas it may use.
    pub gas_limit: u64,
    /// The contract or account; `None` creates a contract.
    pub to: Option<Address>,
    /// Wei to send along.
    pub value: u128,
    /// Call data, or the new contract's init code.
    pub data: Vec<u8>,
}

impl Transaction {
    /// The hash that the sender signs: `keccak256(0x02 ‖ rlp([…]))` (EIP-1559).
    #[must_use]
    pub fn signing_hash(&self) -> Hash {
        Hash::of(&envelope(self.fields()))
    }

    /// The most that it can cost: value and all gas at the highest fee, in wei. Saturates.
    #[must_use]
    pub fn max_cost(&self) -> u128 {
        self.max_fee.saturating_mul(self.gas_limit.into()).saturating_add(self.value)
    }

    fn fields(&self) -> Rlp {
        Rlp::new()
            .uint(self.chain_id.into())
            .uint(self.nonce.into())
            .uint(self.priority_fee)
            .uint(self.max_fee)
            .uint(self.gas_limit.into())
            .bytes(self.to.as_ref().map_or(&[], |to| to.as_bytes()))
            .uint(self.value)
            .bytes(&self.data)
            .list(&Rlp::new())
    }
}

fn envelope(fields: Rlp) -> Vec<u8> {
    let mut out = vec![TYPE];
    out.extend(fields.into_list());
    out
}

/// A transaction with a signature that was checked to be one; who signed is known.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedTransaction {
    transaction: Transaction,
    sender: Address,
    raw: Vec<u8>,
    hash: Hash,
}

impl SignedTransaction {
    /// Puts transaction and signature together. The signature is `r ‖ s ‖ v` over
    /// [`Transaction::signing_hash`] with `v` 27, 28, 0 or 1 and a low `s` (EIP-2).
    ///
    /// # Errors
    /// [`Invalid`] if it is no such signature.
    pub fn new(transaction: Transaction, signature: &[u8; 65]) -> Result<Self, Invalid> {
        let mut signature = *signature;
        if signature[64] < 2 {
            signature[64] += 27;
        }
        let sender = Address::recover(transaction.signing_hash().as_bytes(), &signature)
            .map_err(|e| Invalid::new("transaction signature", e.why))?;
        let (r, s) = (trim(&signature[..32]), trim(&signature[32..64]));
        let fields = transaction.fields().uint(u128::from(signature[64] - 27)).bytes(r).bytes(s);
        let raw = envelope(fields);
        let hash = Hash::of(&raw);
        Ok(Self { transaction, sender, raw, hash })
    }

    /// Reads the bytes that go to the network. Only what [`Self::raw`] writes is accepted.
    ///
    /// # Errors
    /// [`Malformed`] for another type, an access list, a wrong signature or a second form of the same.
    pub fn from_raw(raw: &[u8]) -> Result<Self, Malformed> {
        let bad = |why: String| Malformed::new("transaction", why);
        let Some((&TYPE, mut body)) = raw.split_first() else {
            return Err(bad("is not of type 2".into()));
        };
        let Item::List(body) = rlp::take(&mut body)? else { return Err(bad("is no list".into())) };
        let items = rlp::items(body)?;
        let [chain_id, nonce, priority_fee, max_fee, gas_limit, to, value, data, access, v, r, s] = items[..]
        else {
            return Err(bad(format!("has {} fields, not 12", items.len())));
        };
        if access != Item::List(&[]) {
            return Err(bad("has an access list".into()));
        }
        let to = match bytes(to)? {
            [] => None,
            to => {
                let to = to.try_into().map_err(|_| bad("has an address that is not 20 bytes".into()))?;
                Some(Address::from_bytes(to))
            }
        };
        let transaction = Transaction {
            chain_id: uint(chain_id)?,
            nonce: uint(nonce)?,
            priority_fee: uint(priority_fee)?,
            max_fee: uint(max_fee)?,
            gas_limit: uint(gas_limit)?,
            to,
            value: uint(value)?,
            data: bytes(data)?.to_vec(),
        };
        let mut signature = [0; 65];
        right(&mut signature[..32], bytes(r)?)?;
        right(&mut signature[32..64], bytes(s)?)?;
        signature[64] = 27 + u8::from(uint::<u64>(v)? != 0);
        let signed = Self::new(transaction, &signature).map_err(|e| bad(e.to_string()))?;
        // Integers with leading zeros and a v of 2 or more are other forms of the same.
        if signed.raw == raw { Ok(signed) } else { Err(bad("is not in its shortest form".into())) }
    }

    /// The same as a chain tells of it once it is in a block, at this height, hash and index.
    #[must_use]
    pub fn mined(&self, (number, block, index): (u64, Hash, u64)) -> MinedTransaction {
        let t = &self.transaction;
        let mut value = [0; 32];
        if let Some(low) = value.last_chunk_mut::<16>() {
            *low = t.value.to_be_bytes();
        }
        MinedTransaction {
            hash: self.hash,
            number,
            block,
            index,
            kind: TYPE,
            from: self.sender,
            to: t.to,
            nonce: t.nonce,
            value,
            gas_limit: t.gas_limit,
            max_fee: t.max_fee,
            priority_fee: Some(t.priority_fee),
            data: t.data.clone(),
        }
    }

    /// What was signed.
    #[must_use]
    pub const fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Who signed.
    #[must_use]
    pub const fn sender(&self) -> Address {
        self.sender
    }

    /// The bytes that go to the network (EIP-2718).
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The transaction's hash, by which it is found.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }
}

impl fmt::Debug for SignedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hash, sender, nonce) = (self.hash, self.sender, self.transaction.nonce);
        write!(f, "SignedTransaction({hash} of {sender}, nonce {nonce})")
    }
}

/// An integer has no leading zeros in RLP.
fn trim(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn bytes(item: Item<'_>) -> Result<&[u8], Malformed> {
    match item {
        Item::Bytes(bytes) => Ok(bytes),
        Item::List(_) => Err(Malformed::new("transaction", "has a list where bytes should be")),
    }
}

/// Puts `bytes` at the end of `out`, whose start is zero.
fn right(out: &mut [u8], bytes: &[u8]) -> Result<(), Malformed> {
    let too_long = || Malformed::new("transaction", "has a number that is too large");
    let at = out.len().checked_sub(bytes.len()).ok_or_else(too_long)?;
    out.get_mut(at..).ok_or_else(too_long)?.copy_from_slice(bytes);
    Ok(())
}

fn uint<T: TryFrom<u128>>(item: Item<'_>) -> Result<T, Malformed> {
    let mut word = [0; 16];
    right(&mut word, bytes(item)?)?;
    let too_large = |_| Malformed::new("transaction", "has a number that is too large");
    u128::from_be_bytes(word).try_into().map_err(too_large)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use w3bstream_types::{Algorithm, SecretKey};

    use super::*;

    fn key() -> SecretKey {
        SecretKey::from_bytes(Algorithm::ES256K, &[0x46; 32]).unwrap()
    }

    fn sign(transaction: Transaction) -> SignedTransaction {
        let signature = key().sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
        SignedTransaction::new(transaction, &signature).unwrap()
    }

    fn any_transaction() -> impl Strategy<Value = Transaction> {
        let numbers = (any::<u64>(), any::<u64>(), any::<u128>(), any::<u128>(), any::<u64>(), any::<u128>());
        let to = proptest::option::of(any::<[u8; 20]>().prop_map(Address::from_bytes));
        (numbers, to, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(n, to, data)| Transaction {
            chain_id: n.0,
            nonce: n.1,
            priority_fee: n.2,
            max_fee: n.3,
            gas_limit: n.4,
            to,
            value: n.5,
            data,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_signed_is_read_again(transaction in any_transaction()) {
            let signed = sign(transaction.clone());
            prop_assert_eq!(signed.sender(), Address::of_key(&key().public()).unwrap());
            let read = SignedTransaction::from_raw(signed.raw()).unwrap();
            prop_assert_eq!(read.transaction(), &transaction);
            prop_assert_eq!(read, signed);
        }

        #[test]
        fn changed_bytes_are_never_the_same_transaction(
            transaction in any_transaction(), at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let signed = sign(transaction);
            let mut raw = signed.raw().to_vec();
            let at = at.index(raw.len());
            raw[at] ^= flip;
            // Another signature recovers to another sender, or to none.
            if let Ok(read) = SignedTransaction::from_raw(&raw) {
                prop_assert_ne!(read.sender(), signed.sender());
            }
        }
    }

    #[test]
    fn both_forms_of_v_are_the_same() {
        let transaction = Transaction {
            chain_id: 1,
            nonce: 2,
            priority_fee: 3,
            max_fee: 4,
            gas_limit: 5,
            to: None,
            value: 6,
            data: vec![7],
        };
        let mut signature = key().sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
        let one = SignedTransaction::new(transaction.clone(), &signature).unwrap();
        signature[64] -= 27;
        assert_eq!(SignedTransaction::new(transaction.clone(), &signature).unwrap(), one);
        signature[64] = 29;
        assert!(SignedTransaction::new(transaction.clone(), &signature).is_err());
        assert_eq!(transaction.max_cost(), 4 * 5 + 6);
    }
}
