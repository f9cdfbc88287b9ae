//! What the journal holds for one nonce.

use w3bstream_types::{Address, Canonical, Decoder, Encoder, Malformed, Timestamp};

use super::fees::Offer;
use super::intent::{Cancel, Intent, IntentId, Mined, Outcome};
use crate::{Hash, Revert, SignedTransaction, Transaction};

/// At most this much of a contract's error and of a node's words is kept.
const MAX_REASON: usize = 1024;

/// What a nonce is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An intent's call.
    Intent(Intent),
    /// Nothing: it fills a gap.
    Filler,
    /// It is over and forgotten; the record says that the nonce was used.
    Past,
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) signed: SignedTransaction,
    /// Whether it does nothing instead of the intent's call.
    pub(super) empty: bool,
    /// When it was signed.
    pub(super) at: Timestamp,
}

/// A nonce with everything that was signed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) nonce: u64,
    pub(super) purpose: Purpose,
    /// The gas limit of the call.
    pub(super) gas_limit: u64,
    /// Oldest first; empty once there is an outcome.
    pub(super) attempts: Vec<Attempt>,
    /// Set before the first empty attempt is signed.
    pub(super) cancel: Option<Cancel>,
    pub(super) outcome: Option<Outcome>,
}

/// Gas of a transfer to an account without code.
pub(super) const TRANSFER_GAS: u64 = 21_000;

impl Slot {
    pub(super) fn new(nonce: u64, purpose: Purpose, gas_limit: u64) -> Self {
        Self { nonce, purpose, gas_limit, attempts: vec![], cancel: None, outcome: None }
    }

    /// Whether something is still to be done.
    pub(super) fn live(&self) -> bool {
        self.outcome.is_none() && self.purpose != Purpose::Past
    }

    pub(super) fn intent(&self) -> Option<&Intent> {
        if let Purpose::Intent(intent) = &self.purpose { Some(intent) } else { None }
    }

    pub(super) fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    pub(super) fn attempt(&self, hash: &Hash) -> Option<&Attempt> {
        self.attempts.iter().find(|a| a.signed.hash() == *hash)
    }

    /// The transaction to sign next: the intent's call unless it was given up, else nothing.
    pub(super) fn transaction(&self, chain_id: u64, account: Address, offer: Offer) -> Transaction {
        let empty = Transaction {
            chain_id,
            nonce: self.nonce,
            priority_fee: offer.tip,
            max_fee: offer.max,
            gas_limit: TRANSFER_GAS,
            to: Some(account),
            value: 0,
            data: vec![],
        };
        match &self.purpose {
            Purpose::Intent(intent) if self.cancel.is_none() => Transaction {
                gas_limit: self.gas_limit,
                to: Some(intent.to),
                value: intent.value,
                data: intent.data.clone(),
                ..empty
            },
            _ => empty,
        }
    }
}

fn wide(e: &mut Encoder, v: u128) {
    e.bytes(&v.to_be_bytes());
}

fn read_wide(d: &mut Decoder<'_>) -> Result<u128, Malformed> {
    d.array().map(u128::from_be_bytes)
}

fn read_hash(d: &mut Decoder<'_>) -> Result<Hash, Malformed> {
    d.array().map(Hash::from_bytes)
}

fn revert(e: &mut Encoder, revert: &Revert) {
    e.bytes(revert.data.get(..MAX_REASON).unwrap_or(&revert.data));
}

fn read_revert(d: &mut Decoder<'_>) -> Result<Revert, Malformed> {
    Ok(Revert::new(d.bytes()?.to_vec()))
}

/// Enums are a list of the variant's number and its fields.
fn tagged(e: &mut Encoder, fields: u64, tag: u64) -> &mut Encoder {
    e.array(fields + 1).u64(tag)
}

fn unknown(what: &'static str) -> Malformed {
    Malformed::new(what, "is of an unknown kind")
}

fn cancel(e: &mut Encoder, cancel: &Cancel) {
    match cancel {
        Cancel::Reverts(why) => revert(tagged(e, 1, 0), why),
        Cancel::Rejected(words) => {
            let words: String = words.chars().take(MAX_REASON / 4).collect();
            tagged(e, 1, 1).text(&words);
        }
    }
}

fn read_cancel(d: &mut Decoder<'_>) -> Result<Cancel, Malformed> {
    match (d.head()?, d.u64()?) {
        (2, 0) => read_revert(d).map(Cancel::Reverts),
        (2, 1) => Ok(Cancel::Rejected(d.text()?.to_owned())),
        _ => Err(unknown("reason of a cancellation")),
    }
}

fn mined<'e>(e: &'e mut Encoder, mined: &Mined) -> &'e mut Encoder {
    e.bytes(mined.transaction.as_bytes()).u64(mined.number).bytes(mined.block.as_bytes()).u64(mined.gas_used);
    wide(e, mined.gas_price);
    e
}

fn read_mined(d: &mut Decoder<'_>) -> Result<Mined, Malformed> {
    Ok(Mined {
        transaction: read_hash(d)?,
        number: d.u64()?,
        block: read_hash(d)?,
        gas_used: d.u64()?,
        gas_price: read_wide(d)?,
    })
}

fn outcome(e: &mut Encoder, outcome: &Outcome) {
    match outcome {
        Outcome::Done(at) => {
            mined(tagged(e, 5, 0), at);
        }
        Outcome::Reverted(at, why) => revert(mined(tagged(e, 6, 1), at), why),
        Outcome::Cancelled(why) => cancel(tagged(e, 1, 2), why),
    }
}

fn read_outcome(d: &mut Decoder<'_>) -> Result<Outcome, Malformed> {
    match (d.head()?, d.u64()?) {
        (6, 0) => read_mined(d).map(Outcome::Done),
        (7, 1) => Ok(Outcome::Reverted(read_mined(d)?, read_revert(d)?)),
        (2, 2) => read_cancel(d).map(Outcome::Cancelled),
        _ => Err(unknown("outcome")),
    }
}

fn purpose(e: &mut Encoder, purpose: &Purpose) {
    match purpose {
        Purpose::Intent(intent) => {
            tagged(e, 4, 0).digest(&intent.id.0).bytes(intent.to.as_bytes());
            wide(e, intent.value);
            e.bytes(&intent.data);
        }
        Purpose::Filler => {
            tagged(e, 0, 1);
        }
        Purpose::Past => {
            tagged(e, 0, 2);
        }
    }
}

fn read_purpose(d: &mut Decoder<'_>) -> Result<Purpose, Malformed> {
    match (d.head()?, d.u64()?) {
        (5, 0) => Ok(Purpose::Intent(Intent {
            id: IntentId(d.digest()?),
            to: Address::from_bytes(d.array()?),
            value: read_wide(d)?,
            data: d.bytes()?.to_vec(),
        })),
        (1, 1) => Ok(Purpose::Filler),
        (1, 2) => Ok(Purpose::Past),
        _ => Err(unknown("purpose of a nonce")),
    }
}

/// Reads a record that may be anything: what was read is written as it was.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    if let Ok(slot) = Slot::from_canonical(bytes) {
        assert_eq!(slot.to_canonical(), bytes, "a record has two forms");
    }
}

impl Canonical for Slot {
    const DOMAIN: &'static str = "w3b/tx-slot";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.nonce);
        purpose(e, &self.purpose);
        e.u64(self.gas_limit);
        e.list(&self.attempts, |e, a| {
            e.array(3).bytes(a.signed.raw()).bool(a.empty).u64(a.at.0);
        });
        e.option(self.cancel.as_ref(), cancel);
        e.option(self.outcome.as_ref(), outcome);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            nonce: d.u64()?,
            purpose: read_purpose(d)?,
            gas_limit: d.u64()?,
            attempts: d.list(|d| {
                d.head()?;
                let signed = SignedTransaction::from_raw(d.bytes()?)?;
                Ok(Attempt { signed, empty: d.bool()?, at: Timestamp(d.u64()?) })
            })?,
            cancel: d.option(read_cancel)?,
            outcome: d.option(read_outcome)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use w3bstream_types::{Algorithm, Digest, SecretKey};

    use super::*;

    fn slot(purpose: Purpose, cancel: Option<Cancel>, outcome: Option<Outcome>) -> Slot {
        let key = SecretKey::from_bytes(Algorithm::ES256K, &[1; 32]).unwrap();
        let account = Address::of_key(&key.public()).unwrap();
        let mut slot = Slot::new(7, purpose, 90_000);
        let transaction = slot.transaction(31_337, account, Offer { max: 210, tip: 10 });
        let signature = key.sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
        let signed = SignedTransaction::new(transaction, &signature).unwrap();
        slot.attempts.push(Attempt { signed, empty: false, at: Timestamp(5) });
        Slot { cancel, outcome, ..slot }
    }

    fn intent() -> Purpose {
        let id = IntentId(Digest::of(b"intent"));
        Purpose::Intent(Intent { id, to: Address::from_bytes([2; 20]), value: 3, data: vec![4, 5] })
    }

    fn all() -> Vec<Slot> {
        let at = Mined {
            transaction: Hash::of(b"t"),
            number: 1,
            block: Hash::of(b"b"),
            gas_used: 2,
            gas_price: u128::MAX,
        };
        let why = Cancel::Reverts(Revert::new(vec![1, 2, 3]));
        vec![
            slot(intent(), None, None),
            slot(Purpose::Filler, None, None),
            slot(Purpose::Past, None, None),
            slot(intent(), Some(why.clone()), None),
            slot(intent(), Some(Cancel::Rejected("no".into())), None),
            slot(intent(), None, Some(Outcome::Done(at))),
            slot(intent(), None, Some(Outcome::Reverted(at, Revert::new(vec![9])))),
            slot(intent(), None, Some(Outcome::Cancelled(why))),
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        for slot in all() {
            let bytes = slot.to_canonical();
            assert_eq!(Slot::from_canonical(&bytes).unwrap(), slot);
            for cut in 0..bytes.len() {
                assert!(Slot::from_canonical(&bytes[..cut]).is_err(), "{cut} bytes of {slot:?} were read");
            }
        }
    }

    /// What is on disk after an update must still be read: a change here needs a new version.
    #[test]
    fn the_encoding_is_the_one_on_disk() {
        let encodings: Vec<u8> = all().iter().flat_map(Canonical::to_canonical).collect();
        assert_eq!(
            Digest::of(&encodings).to_string(),
            "2e99d8754cea411c3cbfd601f7331d907745e1247db8fae210d0a87695745c08"
        );
    }

    #[test]
    fn long_reasons_are_cut_and_still_read() {
        for why in [Cancel::Reverts(Revert::new(vec![1; 5000])), Cancel::Rejected("ä".repeat(5000))] {
            let bytes = slot(intent(), Some(why), None).to_canonical();
            assert!(bytes.len() < 3000);
            Slot::from_canonical(&bytes).unwrap();
        }
    }
}
