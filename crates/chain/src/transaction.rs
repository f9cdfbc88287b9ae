//! A transaction with its own fee (type 2, EIP-1559), its signing hash and its signed form.

use std::fmt;

use w3bstream_types::{Address, Invalid};

use crate::Hash;
use crate::rlp::Rlp;

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
