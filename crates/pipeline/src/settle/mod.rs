//! Attested → settled: statements of attested blocks are brought to the contracts that act on them.
//!
//! Each settlement output has a record in the journal, written together with its block's attestation. A record goes
//! from *waiting* to *proven* (if the manifest asks for a proof) and ends as *settled*; the transactions on the way
//! are in the submitter's books. What cannot be done now keeps its reason and is tried again: nothing is dropped.

mod batch;
mod books;
mod link;
mod prove;
mod record;
mod send;
mod shelf;
mod stage;
mod view;

pub(crate) use link::links;
pub use record::{Landed, Settlement, SettlementState};
pub(crate) use record::{count_live, find, open_records, page};
pub use send::{GuestTransaction, SendState};
pub(crate) use send::{find as find_transaction, page as transactions};
pub(crate) use stage::{payer, run};
pub(crate) use view::of_message;
pub use view::{FeeAccount, ProofProgress};
