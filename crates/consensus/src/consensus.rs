//! The trait that a backend implements, and what goes in and out of it.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use w3bstream_types::{
    Block, Canonical, CertifiedBlock, Decoder, Digest, Encoder, Entry, Genesis, Invalid, Malformed, Timestamp,
};

use crate::Error;

/// An agreement protocol, without clock, I/O, threads or randomness.
///
/// # What an implementation owes
/// - **Deterministic.** The same records, then the same inputs at the same times, give byte-equal outputs.
///   Iterate over `BTreeMap`s, never over `HashMap`s; derive jitter from digests.
/// - **Persist first.** Whatever must survive before an output may be seen is pushed before it. The driver
///   writes what one step decides as one atomic record, and lets nothing out before that is on the disk.
/// - **Recoverable anywhere.** After [`Self::recover`] from any prefix of what it persisted it goes on
///   safely. Outputs of the last steps may never have left: send again what matters.
/// - **Bounded.** State, buffered messages and timers have a limit that a peer cannot raise.
/// - **Quiet.** With nothing to order it sends and writes nothing.
///
/// Errors in the protocol by other members are [`Output::Penalise`] or [`Output::Evidence`]; a state in which
/// going on would be unsafe is [`Output::Halt`].
pub trait Consensus: Sized + Send + Debug + 'static {
    /// The name in the genesis.
    const NAME: &'static str;
    /// Version of messages and records. Members of different versions refuse each other.
    const WIRE_VERSION: u16;
    /// The largest message, in bytes. Larger ones never reach [`Self::step`].
    const MAX_MESSAGE_BYTES: usize;
    /// Settings, all with defaults. Unknown keys should be refused (`#[serde(deny_unknown_fields)]`).
    type Config: DeserializeOwned + Default + Clone + Debug + Send;
    /// What members send each other.
    type Message: Canonical + Clone + Debug + Send;
    /// What it writes to the log.
    type Record: Canonical + Clone + Debug + Send;

    /// What this backend promises in this subnet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] if it cannot run with this genesis or these settings.
    fn profile(config: &Self::Config, genesis: &Genesis) -> Result<Profile, Error>;

    /// The state after these records: all of them, in the order in which they were persisted, or those of
    /// the last [`Self::snapshot`] and all after it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`], or [`crate::ErrorKind::CorruptWal`] if the records contradict
    /// [`Recovery::tip`] or each other.
    fn recover(config: Self::Config, at: &Recovery<'_>, records: Vec<Self::Record>) -> Result<Self, Error>;

    /// Every signature inside a message, so that the driver checks them before [`Self::step`] sees it. The
    /// kit also uses them to see that no member ever says two things in one slot.
    fn claims(message: &Self::Message, genesis: &Genesis) -> Result<Vec<Claim>, Malformed>;

    /// One step. Never blocks; what takes time is asked for by an output and comes back as an input.
    fn step(&mut self, cx: &mut Context<'_>, input: Input<Self::Message>, out: &mut Outputs<Self>);

    /// The fewest records from which [`Self::recover`] gives a state that behaves like this one. The driver
    /// replaces all older records by them, so that the log does not grow for ever.
    fn snapshot(&self) -> Vec<Self::Record>;
}

/// The ordered outputs of a backend's step.
pub type Outputs<C> = Vec<Output<<C as Consensus>::Message, <C as Consensus>::Record>>;

/// A member's place in the genesis and the end of the final chain, from which a backend recovers.
#[derive(Clone, Copy, Debug)]
pub struct Recovery<'a> {
    /// The subnet's genesis, checked.
    pub genesis: &'a Genesis,
    /// This node's place among the members; `None` for an observer, which never signs.
    pub me: Option<u32>,
    /// The last final block that the log knows.
    pub tip: Tip,
}

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height; 0 before the first block.
    pub height: u64,
    /// Its name: the parent of the next block.
    pub id: Digest,
    /// Its time; the next block's is not before it.
    pub time: Timestamp,
}

impl Tip {
    /// The end of a chain that has no block yet.
    #[must_use]
    pub const fn before_first(genesis: &Genesis) -> Self {
        Self { height: 0, id: Digest::ZERO, time: genesis.created }
    }

    /// The end of a chain whose last block is this one.
    #[must_use]
    pub fn of(block: &Block) -> Self {
        Self { height: block.header().height, id: block.id(), time: block.header().time }
    }
}

impl Canonical for Tip {
    const DOMAIN: &'static str = "w3b/tip";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 3;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.height).digest(&self.id).u64(self.time.0);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { height: d.u64()?, id: d.digest()?, time: Timestamp(d.u64()?) })
    }
}

/// What kinds of fault a backend survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultModel {
    /// Members stop and come back, but never lie.
    Crash,
    /// Members do anything.
    Byzantine,
    /// Members are authorities that do not sign two blocks for one turn.
    Authority,
}

/// When a block is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// When it is committed.
    Instant,
    /// When this many blocks stand on it; a deeper reorganisation halts the project.
    Depth(u32),
}

/// What a backend promises in a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The faults that it survives.
    pub fault: FaultModel,
    /// When a block is final.
    pub finality: Finality,
    /// How many members may be faulty.
    pub max_faulty: u32,
    /// How many members must agree.
    pub quorum: u32,
    /// The fewest members with which it runs.
    pub min_members: u32,
    /// How many heights it orders ahead of what is applied.
    pub max_in_flight: u32,
    /// Whether it gives [`Evidence`] of members that say two things.
    pub evidence: bool,
}

/// Where a signature belongs. For one (epoch, height, phase) the guard signs one statement per round and
/// never goes back to a lower round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The epoch.
    pub epoch: u64,
    /// The height.
    pub height: u64,
    /// The backend's phase, such as prepare or commit; [`crate::PHASE_ATTEST`] is reserved.
    pub phase: u8,
    /// The round or view.
    pub round: u64,
}

/// A signature that somebody claims to be a member's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The member's place in the genesis.
    pub member: u32,
    /// What the signature is for.
    pub slot: Slot,
    /// The bytes that were signed.
    pub statement: Vec<u8>,
    /// The Ed25519 signature.
    pub signature: [u8; 64],
}

impl Claim {
    /// Checks the signature with the member's consensus key.
    ///
    /// # Errors
    /// [`Invalid`] with link `claim`.
    pub fn verify(&self, genesis: &Genesis) -> Result<(), Invalid> {
        let bad = |why: String| Invalid::new("claim", why);
        if self.slot.epoch != genesis.epoch {
            return Err(bad(format!("is of epoch {}, not {}", self.slot.epoch, genesis.epoch)));
        }
        let member = genesis.members.get(self.member as usize);
        let member = member.ok_or_else(|| bad(format!("signer {} is no member", self.member)))?;
        let checked = member.consensus.verify(&self.statement, &self.signature);
        checked.map_err(|e| bad(format!("member {}: {}", self.member, e.why)))
    }
}

/// Two statements by one member for one slot. Anybody with the genesis can check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// One statement.
    pub first: Claim,
    /// The other.
    pub second: Claim,
}

impl Evidence {
    /// Checks that one member really signed both, and that they contradict each other.
    ///
    /// # Errors
    /// [`Invalid`] with link `evidence` or `claim`.
    pub fn verify(&self, genesis: &Genesis) -> Result<(), Invalid> {
        let (a, b) = (&self.first, &self.second);
        if (a.member, a.slot) != (b.member, b.slot) || a.statement == b.statement {
            return Err(Invalid::new("evidence", "is not two statements of one member for one slot"));
        }
        a.verify(genesis)?;
        b.verify(genesis)
    }
}

/// A timer's name, chosen by the backend. Setting a timer that runs replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

/// Names one request to build a block. A request and its answer mean the same before and after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildSlot {
    /// The height of the block to build.
    pub height: u64,
    /// The round or view.
    pub round: u64,
    /// The block that it stands on.
    pub parent: Digest,
}

/// The answer to a request to build a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Which request this answers. An answer to a request that is no longer open is ignored.
    pub slot: BuildSlot,
    /// The entries, in order; none if there is nothing to order.
    pub entries: Vec<Entry>,
    /// The proposer's time. If it is before the parent's, the parent's is used.
    pub time: Timestamp,
}

/// The host's judgement on a block of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid, every payload is stored here, and this node is willing to vote for it.
    Accept,
    /// Invalid, and will stay so. While it is only undecided, the host does not answer.
    Refuse,
}

/// What a member did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no member of this epoch, or claims to be this node.
    NotMember,
    /// Its message is too large.
    TooLarge,
    /// Its message is not in canonical form.
    Malformed,
    /// A signature in its message is wrong.
    BadSignature,
    /// Its message breaks the protocol.
    Protocol,
}

/// What goes into a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<M> {
    /// The first input after [`Consensus::recover`]: the host has applied everything up to this height.
    Start {
        /// The last height that the host has applied.
        applied: u64,
    },
    /// A member's message; its size and all its [`Claim`]s were checked. Own messages come back here too.
    Message {
        /// The sender.
        from: u32,
        /// The message.
        message: M,
    },
    /// A timer has run out.
    Timer(TimerId),
    /// There is something to order. A hint: it may come often, or when a build then finds nothing.
    Pending,
    /// The answer to [`Output::Build`].
    Built(Built),
    /// The answer to [`Output::Validate`].
    Validated {
        /// The block's name.
        block: Digest,
        /// The judgement.
        verdict: Verdict,
    },
    /// The host has applied everything up to this height, durably.
    Applied {
        /// The height.
        height: u64,
        /// The state's root after it.
        state_root: Digest,
    },
    /// The answer to [`Output::Fetch`]: blocks by rising height, their certificates checked.
    Fetched(Vec<CertifiedBlock>),
    /// A link came up or went down. A hint, never a reason to take anything as final.
    Peer {
        /// The member at its other end.
        member: u32,
        /// Whether it is up.
        up: bool,
    },
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every member. The sender gets it back as an input.
    All,
    /// One member, which may be the sender itself.
    Member(u32),
}

/// What comes out of a backend's step. Order matters: what is pushed first happens first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<M, R> {
    /// Write to the log, before anything that comes after.
    Persist(R),
    /// Send a message.
    Send {
        /// To whom.
        to: To,
        /// The message.
        message: M,
    },
    /// Start or restart a timer.
    SetTimer {
        /// Its name.
        id: TimerId,
        /// From now, in milliseconds; at least 1.
        after_ms: u64,
    },
    /// Stop a timer, if it runs.
    CancelTimer(TimerId),
    /// Ask the host for entries. Always answered by [`Input::Built`] until the next restart.
    Build {
        /// Names the request.
        slot: BuildSlot,
        /// The answer should come within this time, in milliseconds.
        within_ms: u64,
    },
    /// Ask the host to judge a block. Answered by [`Input::Validated`], perhaps late, perhaps never.
    Validate(Block),
    /// A block is final: each height once, without gap, with a certificate of a quorum.
    Commit(Box<CertifiedBlock>),
    /// Ask other members for final blocks of these heights, both included.
    Fetch {
        /// The first height.
        from: u64,
        /// The last height.
        to: u64,
    },
    /// A quorum has the same state at this height; what is older need not be kept for other members.
    Checkpoint {
        /// The height.
        height: u64,
        /// The state's root after it.
        state_root: Digest,
    },
    /// A member said two things.
    Evidence(Box<Evidence>),
    /// A member sent what it should not have sent.
    Penalise {
        /// The member.
        member: u32,
        /// What it did.
        fault: Fault,
    },
    /// Going on would be unsafe. The driver stops after it.
    Halt(String),
}

/// What a step may use beside its state: the time, its place in the subnet, and its guarded key.
#[derive(Debug)]
pub struct Context<'a> {
    now: Timestamp,
    me: Option<u32>,
    genesis: (&'a Genesis, Digest),
    desk: &'a mut dyn Desk,
}

/// Where signatures come from. The driver implements it over guard and key.
pub trait Desk: Debug {
    /// Signs; `None` if the guard refused or the key could not sign. The driver stops after such a step.
    fn sign(&mut self, slot: Slot, statement: &[u8]) -> Option<[u8; 64]>;
}

impl<'a> Context<'a> {
    /// For the driver, and for tests of a backend without one. `genesis` comes with its digest.
    #[must_use]
    pub fn new(
        now: Timestamp,
        me: Option<u32>,
        genesis: (&'a Genesis, Digest),
        desk: &'a mut dyn Desk,
    ) -> Self {
        Self { now, me, genesis, desk }
    }

    /// The driver's logical clock. It never goes backwards while the driver is open.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// This node's place among the members; `None` for an observer.
    #[must_use]
    pub const fn me(&self) -> Option<u32> {
        self.me
    }

    /// The subnet's genesis.
    #[must_use]
    pub const fn genesis(&self) -> &'a Genesis {
        self.genesis.0
    }

    /// The genesis' digest.
    #[must_use]
    pub const fn genesis_digest(&self) -> Digest {
        self.genesis.1
    }

    /// Signs a statement with this member's consensus key. The same statement for the same slot may be
    /// signed again. `None` ends the driver after this step, so a backend then just returns.
    pub fn sign(&mut self, slot: Slot, statement: &[u8]) -> Option<[u8; 64]> {
        self.desk.sign(slot, statement)
    }
}
