//! What to do next about one nonce: a pure function of what was seen.

use w3bstream_types::Timestamp;

use super::intent::Settings;
use super::record::Slot;
use crate::{Hash, Receipt};

/// What was seen of a nonce's transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// One of ours is in a block; whether as deep as is asked for.
    Mined(Receipt, bool),
    /// Another one is in a block, which used the nonce; whether as deep as is asked for.
    Foreign(Hash, bool),
    /// The node contradicts itself, as it does while it catches up.
    Unclear,
    /// The last one waits in the pool.
    Pooled,
    /// The last one is not known.
    Missing,
}

/// What else matters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'s> {
    pub(super) settings: &'s Settings,
    pub(super) now: Timestamp,
    /// Since when this nonce is the next to be mined, if it is.
    pub(super) next_since: Option<Timestamp>,
    /// When something was last given to the node for it; `None` in a new process.
    pub(super) sent: Option<Timestamp>,
    /// Whether the node asked for more.
    pub(super) pays_too_little: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// It has come to an end, in this transaction.
    Finish(Receipt),
    /// The nonce is lost to this transaction.
    Lost(Hash),
    /// Send the last one again.
    Send,
    /// Sign and send one that pays more.
    Bump,
}

fn passed(since: Timestamp, now: Timestamp, millis: u64) -> bool {
    now.0.saturating_sub(since.0) >= millis
}

/// The next step.
pub(super) fn decide(slot: &Slot, sight: Sight, m: &Moment<'_>) -> Step {
    let rested = m.sent.is_none_or(|at| passed(at, m.now, m.settings.resend_after));
    let waited = |since| passed(since, m.now, m.settings.bump_after);
    // A later nonce waits for this one: a higher fee would not help it.
    let stuck = m.next_since.is_some_and(waited) && slot.last().is_some_and(|last| waited(last.at));
    match sight {
        Sight::Mined(receipt, true) => Step::Finish(receipt),
        Sight::Foreign(by, true) => Step::Lost(by),
        Sight::Mined(_, false) | Sight::Foreign(_, false) | Sight::Unclear => Step::Wait,
        Sight::Pooled | Sight::Missing if rested && (stuck || m.pays_too_little) => Step::Bump,
        Sight::Missing if rested => Step::Send,
        Sight::Pooled | Sight::Missing => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Attempt, Purpose};
    use super::*;
    use crate::{SignedTransaction, Transaction};
    use w3bstream_types::{Address, Algorithm, SecretKey};

    fn slot(at: u64) -> Slot {
        let key = SecretKey::from_bytes(Algorithm::ES256K, &[1; 32]).unwrap();
        let transaction = Transaction {
            chain_id: 1,
            nonce: 0,
            priority_fee: 1,
            max_fee: 1,
            gas_limit: 21_000,
            to: Some(Address::from_bytes([0; 20])),
            value: 0,
            data: vec![],
        };
        let signature = key.sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
        let signed = SignedTransaction::new(transaction, &signature).unwrap();
        let mut slot = Slot::new(0, Purpose::Filler, 21_000);
        slot.attempts.push(Attempt { signed, empty: false, at: Timestamp(at) });
        slot
    }

    fn receipt() -> Receipt {
        Receipt {
            transaction: Hash::ZERO,
            number: 1,
            block: Hash::ZERO,
            index: 0,
            success: true,
            gas_used: 0,
            effective_gas_price: 0,
            created: None,
            logs: vec![],
        }
    }

    #[test]
    fn nothing_but_depth_ends_or_moves_an_intent() {
        let settings = Settings::default();
        for now in [0, 10_000_000] {
            for pays_too_little in [false, true] {
                let now = Timestamp(now);
                let m =
                    Moment { settings: &settings, now, next_since: Some(now), sent: None, pays_too_little };
                let step = |sight| decide(&slot(0), sight, &m);
                assert_eq!(step(Sight::Mined(receipt(), true)), Step::Finish(receipt()));
                assert_eq!(step(Sight::Mined(receipt(), false)), Step::Wait);
                assert_eq!(step(Sight::Foreign(Hash::ZERO, true)), Step::Lost(Hash::ZERO));
                assert_eq!(step(Sight::Foreign(Hash::ZERO, false)), Step::Wait);
                assert_eq!(step(Sight::Unclear), Step::Wait);
                assert!(matches!(step(Sight::Pooled), Step::Wait | Step::Bump));
                assert!(matches!(step(Sight::Missing), Step::Send | Step::Bump));
            }
        }
    }

    #[test]
    fn times_are_kept() {
        let settings = Settings { bump_after: 60, resend_after: 15, ..Settings::default() };
        let at = |now, next_since: Option<u64>, sent: Option<u64>, sight| {
            let m = Moment {
                settings: &settings,
                now: Timestamp(now),
                next_since: next_since.map(Timestamp),
                sent: sent.map(Timestamp),
                pays_too_little: false,
            };
            decide(&slot(100), sight, &m)
        };
        assert_eq!(at(114, None, Some(100), Sight::Missing), Step::Wait);
        assert_eq!(at(115, None, Some(100), Sight::Missing), Step::Send);
        assert_eq!(at(100, None, None, Sight::Missing), Step::Send);
        assert_eq!(at(159, Some(100), Some(100), Sight::Pooled), Step::Wait);
        assert_eq!(at(160, Some(100), Some(100), Sight::Pooled), Step::Bump);
        assert_eq!(at(160, Some(101), Some(100), Sight::Pooled), Step::Wait);
        assert_eq!(at(999, None, Some(100), Sight::Pooled), Step::Wait);
    }
}
