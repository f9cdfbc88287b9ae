//! The receipt: one file for one device message, from the device's signature to the attested block, which
//! anybody can check offline.
//!
//! ```text
//! message ─▶ registration ─▶ ordering ─▶ execution ─▶ attestation ─▶ genesis
//! device's   which key       block and   outputs of   quorum's      who the
//! signature  the device has  its quorum  this message signature     members are
//! ```
//!
//! [`Receipt::assemble`] makes one from what a node has; [`Receipt::from_json`] and
//! [`Canonical::from_canonical`](crate::Canonical::from_canonical) read one; [`Receipt::verify`] checks every
//! link and says for each by whom it is [proven, claimed or not checked](Verdict). A receipt that proves itself
//! is *consistent*; only [`Anchors`], what the reader knew before, tell it from one that somebody made up from
//! the first key to the last.
//!
//! # What a receipt shows, and what not
//! - Every member of the file is bound by a signature or a digest: change any and a link breaks. Signatures
//!   beyond a quorum can be left away; the verdict ("3 of 4") then says so.
//! - The payload of an envelope, with its salt, is in the file only if asked for. Without it the file shows the
//!   salted digest, and nobody can guess a payload from that.
//! - What is shown of the execution is true and all of it: each result says which of how many calls it is, and how
//!   many outputs follow it. A receipt that shows nothing of the execution, as that of a message that no handler
//!   took, is never anchored.
//! - A token message is only *claimed*: the node that took it says that it came with the publisher's token. Its
//!   id is made of project, publisher and event id, so its body, type and time are not in the file.
//! - So is a session message: the node says that the device showed its key when the session began, and that the message
//!   came in that session. Which member that was (`node`) is the file's word; it must be one of the genesis.

mod anchors;
mod assemble;
mod encoding;
mod links;
mod report;
mod settled;
mod verify;

pub use anchors::Anchors;
pub use assemble::ReceiptParts;
pub use encoding::{FormatVersion, MAX_RECEIPT_BYTES};
pub use links::{
    EnvelopeLink, ExecutionLink, JwsLink, MessageLink, MessageTime, OrderingLink, OutputLink, PayloadLink,
    ProgramLink, Receipt, RegistrationLink, SessionLink, TokenLink, TriggerLink,
};
pub use report::{Link, LinkReport, Report, Verdict};
pub use settled::{ChainBlock, ProofFinding, ProofLink, SettlementFinding, SettlementLink, TrieNode};
