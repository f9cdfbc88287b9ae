//! The submitter: makes intents take effect on a chain, each at most once, through one account.
//!
//! **Takes** [`Intent`]s (a call, under an id that never changes); **gives** each one's [`Outcome`]. It owns the
//! account's nonces: nobody else should send from it, and if somebody does, that is noticed and survived.
//!
//! # Invariants
//! - A nonce is in the journal, with the signed bytes, before the first byte leaves.
//! - All transactions ever signed for a nonce do the same or nothing: the intent's call, or (after it was given up)
//!   an empty transfer to the account itself. So one nonce has one effect at most, whichever of them is mined.
//! - An intent gets a second nonce only after another transaction was found, as deep in the chain as
//!   [`Settings::confirmations`], that used the first; or after it was cancelled by an empty transfer as deep as
//!   that, and offered anew.
//! - At most [`Settings::max_in_flight`] intents have a nonce and no outcome.
//!
//! # What is believed
//! Counts of transactions, time-outs, refusals and silence are hints: any of them may be wrong and nothing is lost
//! but time. A receipt, and the transaction that used a nonce, are evidence. A node that makes those up, or a
//! reorganisation deeper than `confirmations`, can make a plain call happen twice; a contract that remembers ids, as
//! the executor does, cannot be fooled by either.
//!
//! # Using it
//! Call [`Submitter::tick`] every few seconds. It looks at the chain and does what is due. Then
//! [`Submitter::offer`] what is to be done; offering again is harmless, so the caller keeps no list beside its
//! outbox. When an outcome is stored, [`Submitter::forget`] it.

mod decide;
mod fees;
mod intent;
mod journal;
mod look;
mod place;
mod record;
mod send;
mod submitter;

pub use intent::{Cancel, Intent, IntentId, Mined, Offered, Outcome, Refusal, Report, Settings, Warning};
pub use journal::{Account, MemoryTxJournal, TxJournal, TxSigner};
#[cfg(feature = "fuzzing")]
pub(crate) use record::read_any;
pub use submitter::{Ports, Submitter};
