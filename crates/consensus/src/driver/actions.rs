//! What the host says to a driver, and what a driver asks of the host.

use w3bstream_types::{Block, CertifiedBlock, Digest, Statement, Timestamp};

use crate::{BuildSlot, Built, Evidence, Fault, To, Verdict};

/// What the host tells the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverInput {
    /// The first input, exactly once. The driver answers with every final block above `applied`.
    Start {
        /// The last height that the host has applied, durably.
        applied: u64,
    },
    /// The time has come that [`Action::WakeAt`] named, or any other.
    Tick,
    /// There is something to order that no [`Action::Build`] has been answered with. A hint; say it when
    /// something arrives and, while something is left, after each build.
    Pending,
    /// The answer to [`Action::Build`]. Every request must be answered, if only with no entries.
    Built(Built),
    /// The answer to [`Action::Validate`].
    Validated {
        /// The block's name.
        block: Digest,
        /// The judgement.
        verdict: Verdict,
    },
    /// A member's bytes. The transport has authenticated the sender.
    Message {
        /// The sender's place in the genesis.
        from: u32,
        /// The message.
        bytes: Vec<u8>,
    },
    /// The answer to [`Action::Fetch`]; empty, or blocks that follow each other by rising height.
    Fetched(Vec<CertifiedBlock>),
    /// The host has applied everything up to this height, durably, and will never ask for it again. A height
    /// that is applied already is ignored.
    Applied {
        /// The height.
        height: u64,
        /// The state's root after it.
        state_root: Digest,
    },
    /// A link to a member came up or went down.
    Peer {
        /// The member.
        member: u32,
        /// Whether it is up.
        up: bool,
    },
    /// The host is about to sign this attestation. The driver notes it and answers with
    /// [`Action::SignAttestation`]; another statement for the same height is refused for ever.
    Attest(Box<Statement>),
}

/// A request to choose the entries of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildRequest {
    /// Names the request: height, round and parent.
    pub slot: BuildSlot,
    /// Digest of the subnet's genesis.
    pub genesis: Digest,
    /// The epoch.
    pub epoch: u64,
    /// This node's place in the genesis.
    pub proposer: u32,
    /// The parent's time; the block's is not before it.
    pub parent_time: Timestamp,
    /// When the answer should be there, on the driver's clock.
    pub deadline: Timestamp,
}

/// What the host does, in the order given. Everything that it rests on is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Choose entries that no block holds yet, neither applied nor committed, and answer
    /// [`DriverInput::Built`] with at most [`crate::MAX_BLOCK_ENTRIES`].
    Build(BuildRequest),
    /// Judge a block of somebody else and answer [`DriverInput::Validated`].
    Validate(Box<Block>),
    /// A block is final. Heights rise by one. After a restart those that the host has not applied come
    /// again, so take them by height; answer [`DriverInput::Applied`] when it is executed and durable.
    Committed(Box<CertifiedBlock>),
    /// Send bytes to other members. May be lost.
    Send {
        /// To whom; never only to this node itself.
        to: To,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Ask other members for final blocks and answer [`DriverInput::Fetched`].
    Fetch {
        /// The first height.
        from: u64,
        /// The last height.
        to: u64,
    },
    /// Give [`DriverInput::Tick`] at this time, if nothing comes before. Replaces the one before; comes only
    /// when the time changes, and a time that has passed is done with. [`crate::Driver::next_wake`] says the
    /// same at any moment.
    WakeAt(Timestamp),
    /// A quorum has this state at this height.
    Checkpoint {
        /// The height.
        height: u64,
        /// The state's root after it.
        state_root: Digest,
    },
    /// Keep and show this: a member said two things.
    Evidence(Box<Evidence>),
    /// A member misbehaved; how much of it is borne is the transport's affair.
    Penalise {
        /// The member.
        member: u32,
        /// What it did.
        fault: Fault,
    },
    /// Now the attestation key may sign this.
    SignAttestation(Box<Statement>),
    /// Going on would be unsafe: halt the project and show the reason. The last action; the driver is
    /// stopped.
    Halt(String),
}
